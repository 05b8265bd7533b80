// Felix's end: handshakes.

package main

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"syscall"
	"time"
)

type felix struct {
	config *tls.Config
	held   []*tls.Conn
}

func (f *felix) answer(r request) (any, error) {
	millis := time.Duration(r.Millis) * time.Millisecond
	switch r.Request {
	case "usage":
		return currentUsage(r.Memory)
	case "handshakes":
		if len(r.Fresh) > 0 && string(r.Fresh) != "null" {
			return nil, errors.New("fresh leaves are for the bare Felix only")
		}
		return f.handshakes(r.Address, r.Clients, millis)
	case "hold":
		return f.hold(r.Address, r.Connections), nil
	case "release":
		for _, conn := range f.held {
			conn.NetConn().Close()
		}
		f.held = nil
		return held{}, nil
	case "bulk":
		return f.bulk(r.Address, r.Direction, millis)
	}
	return nil, misdirected(r)
}

// tally is what one client, or all of them, have done.
type tally struct {
	rounds       []int64 // nanoseconds of each that succeeded
	failed       int
	firstFailure *string
	resumed      int
}

func (t *tally) fail(err error) {
	t.failed++
	if t.firstFailure == nil {
		text := err.Error()
		t.firstFailure = &text
	}
}

func (t *tally) add(other tally) {
	t.rounds = append(t.rounds, other.rounds...)
	t.failed += other.failed
	if t.firstFailure == nil {
		t.firstFailure = other.firstFailure
	}
	t.resumed += other.resumed
}

func (f *felix) handshakes(address string, clients int, length time.Duration) (handshakes, error) {
	cpuBefore, err := cpu()
	if err != nil {
		return handshakes{}, err
	}
	begun := time.Now()
	until := begun.Add(length)
	tallies := make([]tally, clients)
	var loops sync.WaitGroup
	for i := range tallies {
		loops.Add(1)
		go func() {
			defer loops.Done()
			// At least one, so that the shortest request has something to say.
			f.round(address, &tallies[i])
			for time.Now().Before(until) {
				f.round(address, &tallies[i])
			}
		}()
	}
	loops.Wait()
	elapsed := time.Since(begun)
	cpuAfter, err := cpu()
	if err != nil {
		return handshakes{}, err
	}
	var all tally
	for _, one := range tallies {
		all.add(one)
	}
	slices.Sort(all.rounds)
	return handshakes{
		Completed:    len(all.rounds),
		Failed:       all.failed,
		FirstFailure: all.firstFailure,
		Resumed:      all.resumed,
		ElapsedNanos: elapsed.Nanoseconds(),
		CPUNanos:     cpuAfter - cpuBefore,
		P50Nanos:     percentile(all.rounds, 50),
		P99Nanos:     percentile(all.rounds, 99),
	}, nil
}

// round closes TCP without a goodbye of TLS: it would be one more record on either end, and is no part of a handshake.
func (f *felix) round(address string, t *tally) {
	conn, begun, err := f.open(address)
	if err != nil {
		t.fail(err)
		return
	}
	t.rounds = append(t.rounds, time.Since(begun).Nanoseconds())
	if conn.ConnectionState().DidResume {
		t.resumed++
	}
	conn.NetConn().Close()
}

// percentile is the smallest value that this percentage of all do not exceed; 0 if there is none.
func percentile(sorted []int64, percent int) int64 {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[(len(sorted)*percent+99)/100-1]
}

// dial returns a TCP connection, and when the attempt began that led to it. While no local port is free, it waits; the
// attempts that failed for it are not counted.
func dial(address string) (net.Conn, time.Time, error) {
	until := time.Now().Add(limit)
	for {
		begun := time.Now()
		tcp, err := net.DialTimeout("tcp", address, limit)
		if errors.Is(err, syscall.EADDRNOTAVAIL) && begun.Before(until) {
			time.Sleep(portPause)
			continue
		}
		return tcp, begun, err
	}
}

// start performs a handshake and says what the connection is for. Its deadline stays set.
func (f *felix) start(address string, purpose byte) (*tls.Conn, time.Time, error) {
	tcp, begun, err := dial(address)
	if err != nil {
		return nil, begun, err
	}
	conn := tls.Client(tcp, f.config)
	err = conn.SetDeadline(begun.Add(limit))
	if err == nil {
		err = conn.Handshake()
	}
	if err == nil {
		_, err = conn.Write([]byte{purpose})
	}
	if err != nil {
		tcp.Close()
		return nil, begun, err
	}
	return conn, begun, nil
}

// open makes a handshake and receives one byte back: both ends are known to be done.
func (f *felix) open(address string) (*tls.Conn, time.Time, error) {
	conn, begun, err := f.start(address, 'e')
	if err != nil {
		return nil, begun, err
	}
	var back [1]byte
	_, err = io.ReadFull(conn, back[:])
	if err != nil {
		conn.NetConn().Close()
		return nil, begun, err
	}
	return conn, begun, nil
}
