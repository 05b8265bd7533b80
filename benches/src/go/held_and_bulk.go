// Felix's end: connections that are held, and data in bulk.

package main

import (
	"crypto/tls"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

func (f *felix) hold(address string, connections int) held {
	var lock sync.Mutex
	var t tally
	var begun atomic.Int64
	var opening sync.WaitGroup
	for range openingAtOnce {
		opening.Add(1)
		go func() {
			defer opening.Done()
			for begun.Add(1) <= int64(connections) {
				conn, _, err := f.open(address)
				if err == nil {
					err = conn.SetDeadline(time.Time{})
				}
				lock.Lock()
				if err == nil {
					f.held = append(f.held, conn)
				} else {
					t.fail(err)
				}
				lock.Unlock()
			}
		}()
	}
	opening.Wait()
	return held{len(f.held), t.failed, t.firstFailure}
}

func (f *felix) bulk(address, direction string, length time.Duration) (bulk, error) {
	purpose, transfer := byte('d'), download
	switch direction {
	case "to_felix":
	case "to_typha":
		purpose, transfer = 'u', upload
	default:
		return bulk{}, fmt.Errorf("unknown direction %q", direction)
	}
	conn, _, err := f.start(address, purpose)
	if err != nil {
		return bulk{}, err
	}
	defer conn.NetConn().Close()
	return transfer(conn, length)
}

// download counts from the first data that arrive.
func download(conn *tls.Conn, length time.Duration) (bulk, error) {
	buffer := make([]byte, bulkLength)
	if _, err := conn.Read(buffer); err != nil {
		return bulk{}, err
	}
	return measured(conn, length, func(until time.Time) (bytes int64, err error) {
		for err == nil && time.Now().Before(until) {
			var count int
			count, err = conn.Read(buffer)
			bytes += int64(count)
		}
		return bytes, err
	})
}

// upload counts until Typha has closed its direction, which it does when it has received everything.
func upload(conn *tls.Conn, length time.Duration) (bulk, error) {
	data := make([]byte, bulkLength)
	return measured(conn, length, func(until time.Time) (bytes int64, err error) {
		for time.Now().Before(until) {
			if _, err := conn.Write(data); err != nil {
				return bytes, err
			}
			bytes += bulkLength
		}
		if err := conn.CloseWrite(); err != nil {
			return bytes, err
		}
		if _, err := conn.Read(data); err != io.EOF {
			return bytes, fmt.Errorf("Typha did not close when it had received everything: %v", err)
		}
		return bytes, nil
	})
}

func measured(conn *tls.Conn, length time.Duration, transfer func(until time.Time) (int64, error)) (bulk, error) {
	cpuBefore, err := cpu()
	if err != nil {
		return bulk{}, err
	}
	begun := time.Now()
	until := begun.Add(length)
	if err := conn.SetDeadline(until.Add(limit)); err != nil {
		return bulk{}, err
	}
	bytes, err := transfer(until)
	if err != nil {
		return bulk{}, err
	}
	elapsed := time.Since(begun)
	cpuAfter, err := cpu()
	return bulk{bytes, elapsed.Nanoseconds(), cpuAfter.since(cpuBefore)}, err
}
