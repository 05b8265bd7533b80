// Felix's end: handshakes.

package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
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
		return f.handshakes(r.Address, r.Clients, millis)
	case "leaves":
		return nil, errors.New("other leaves are for the bare Felix only")
	case "hold":
		return f.hold(r.Address, r.Connections), nil
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
	agreed       *agreed
}

// agreed is what both ends agreed on; formatted only for the answer.
type agreed struct {
	version, suite uint16
	group          tls.CurveID
}

// agree checks that all handshakes negotiate the same: figures about a mixture would mean nothing.
func (t *tally) agree(found agreed) error {
	if t.agreed != nil && *t.agreed != found {
		return fmt.Errorf("the handshakes differ: %v, and then %v", *t.agreed, found)
	}
	t.agreed = &found
	return nil
}

func (t *tally) fail(err error) {
	t.failed++
	if t.firstFailure == nil {
		text := err.Error()
		t.firstFailure = &text
	}
}

func (t *tally) add(other tally) error {
	t.rounds = append(t.rounds, other.rounds...)
	t.failed += other.failed
	if t.firstFailure == nil {
		t.firstFailure = other.firstFailure
	}
	t.resumed += other.resumed
	if other.agreed == nil {
		return nil
	}
	return t.agree(*other.agreed)
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
			// At least one, so that the shortest request has a result.
			for f.round(address, &tallies[i]) && time.Now().Before(until) {
			}
		}()
	}
	loops.Wait()
	elapsed := time.Since(begun)
	cpuAfter, err := cpu()
	if err != nil {
		return handshakes{}, err
	}
	all := tally{rounds: []int64{}}
	for _, one := range tallies {
		if err := all.add(one); err != nil {
			return handshakes{}, err
		}
	}
	var agreed *negotiated
	if all.agreed != nil {
		agreed = all.agreed.format()
	}
	return handshakes{
		Completed:    len(all.rounds),
		Failed:       all.failed,
		FirstFailure: all.firstFailure,
		Resumed:      all.resumed,
		Negotiated:   agreed,
		ElapsedNanos: elapsed.Nanoseconds(),
		CPU:          cpuAfter.since(cpuBefore),
		RoundsNanos:  all.rounds,
	}, nil
}

// round closes TCP without a close_notify of TLS: it would be one more record on either end, and is no part of a
// handshake. It returns false if it failed: that ends the run.
func (f *felix) round(address string, t *tally) bool {
	conn, begun, err := f.open(address)
	if err != nil {
		t.fail(err)
		return false
	}
	defer conn.NetConn().Close()
	t.rounds = append(t.rounds, time.Since(begun).Nanoseconds())
	state := conn.ConnectionState()
	if state.DidResume {
		t.resumed++
		// In TLS 1.2, without a key exchange.
		return true
	}
	if err := t.agree(agreed{state.Version, state.CipherSuite, curve(state)}); err != nil {
		t.fail(err)
		return false
	}
	return true
}

func (a agreed) format() *negotiated {
	formatted := negotiated{CipherSuite: tls.CipherSuiteName(a.suite)}
	switch a.version {
	case tls.VersionTLS12:
		formatted.Version = "1.2"
	case tls.VersionTLS13:
		formatted.Version = "1.3"
	default:
		formatted.Version = tls.VersionName(a.version)
	}
	for name, group := range groups {
		if group == a.group {
			formatted.Group = &name
		}
	}
	return &formatted
}

// dial returns a TCP connection, and when the attempt began that succeeded. While no local port is free, it waits;
// failed attempts do not count.
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

// start performs a handshake and sends the purpose of the connection. Its deadline stays set.
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

// open makes a handshake and receives one byte back: after that, both ends have finished the handshake.
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
