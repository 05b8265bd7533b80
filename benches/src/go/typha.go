// Typha's end.

package main

import (
	"crypto/tls"
	"io"
	"net"
	"sync/atomic"
	"time"
)

type typha struct {
	config                               *tls.Config
	accepted, failed, resumed, bulkBytes atomic.Int64
}

func (t *typha) answer(r request) (any, error) {
	if r.Request != "usage" {
		return nil, misdirected(r)
	}
	u, err := currentUsage(r.Memory)
	u.Accepted, u.Failed, u.Resumed = t.accepted.Load(), t.failed.Load(), t.resumed.Load()
	u.BulkBytes = t.bulkBytes.Load()
	return u, err
}

func (t *typha) accept(listener net.Listener) {
	for {
		tcp, err := listener.Accept()
		if err != nil {
			time.Sleep(acceptPause)
			continue
		}
		go t.serve(tcp)
	}
}

// serve ends with the connection, as the other implementations do: without a close_notify of TLS to a Felix that has
// gone.
func (t *typha) serve(tcp net.Conn) {
	defer tcp.Close()
	conn := tls.Server(tcp, t.config)
	if err := handshake(conn); err != nil {
		t.failed.Add(1)
		return
	}
	// Before Felix gets its answer, so that the counts of both ends agree.
	t.accepted.Add(1)
	if conn.ConnectionState().DidResume {
		t.resumed.Add(1)
	}
	var purpose [1]byte
	if _, err := io.ReadFull(conn, purpose[:]); err != nil {
		return
	}
	switch purpose[0] {
	case 'e':
		if _, err := conn.Write(purpose[:]); err != nil {
			return
		}
		for {
			if _, err := conn.Read(purpose[:]); err != nil {
				return
			}
		}
	case 'd':
		t.sendAll(conn)
	case 'u':
		t.receiveAll(conn)
		// Felix waits for it: by then everything that it sent has arrived.
		conn.CloseWrite()
	}
}

func handshake(conn *tls.Conn) error {
	if err := conn.SetDeadline(time.Now().Add(handshakeTimeout)); err != nil {
		return err
	}
	if err := conn.Handshake(); err != nil {
		return err
	}
	return conn.SetDeadline(time.Time{})
}

func (t *typha) sendAll(conn *tls.Conn) {
	data := make([]byte, bulkLength)
	for {
		if _, err := conn.Write(data); err != nil {
			return
		}
		t.bulkBytes.Add(bulkLength)
	}
}

func (t *typha) receiveAll(conn *tls.Conn) {
	buffer := make([]byte, bulkLength)
	for {
		count, err := conn.Read(buffer)
		t.bulkBytes.Add(int64(count))
		if err != nil {
			return
		}
	}
}
