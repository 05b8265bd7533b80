// Command typha-tls-bench is one end of a Felix-Typha connection on crypto/tls, configured as Calico does it. Its tasks
// come as lines of JSON on stdin; protocol.rs describes them.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"log"
	"net"
	"os"
	"runtime"
	"time"
)

const (
	// limit bounds everything that is done on a new connection, so that no request waits forever.
	limit = 10 * time.Second
	// handshakeTimeout is Calico's bound for Typha's end.
	handshakeTimeout = 10 * time.Second
	// portPause is the pause when all local ports are taken.
	portPause = 10 * time.Millisecond
	// acceptPause is the pause after an error of Accept: running out of file descriptors lasts.
	acceptPause = 100 * time.Millisecond
	// openingAtOnce is the number of handshakes in progress at once when connections are to be held.
	openingAtOnce = 32
	// bulkLength is the length of the pieces in which bulk data are sent and read.
	bulkLength = 64 << 10
)

type setup struct {
	End     string `json:"end"`
	Threads int    `json:"threads"`
	Files   struct {
		CA    string `json:"ca"`
		Chain string `json:"chain"`
		Key   string `json:"key"`
	} `json:"files"`
	Required struct {
		CommonName *string `json:"common_name"`
		URISAN     *string `json:"uri_san"`
	} `json:"required"`
	MaxVersion string   `json:"max_version"`
	Groups     []string `json:"groups"`
	Resumption bool     `json:"resumption"`
}

type ready struct {
	Address  *string `json:"address"`
	Versions string  `json:"versions"`
}

type request struct {
	Request     string `json:"request"`
	Address     string `json:"address"`
	Clients     int    `json:"clients"`
	Millis      int64  `json:"millis"`
	Connections int    `json:"connections"`
	Direction   string `json:"direction"`
	Memory      bool   `json:"memory"`
}

type usage struct {
	CPU           cpuTime `json:"cpu"`
	ResidentBytes int64   `json:"resident_bytes"`
	Accepted      int64   `json:"accepted"`
	Failed        int64   `json:"failed"`
	Resumed       int64   `json:"resumed"`
	BulkBytes     int64   `json:"bulk_bytes"`
}

type cpuTime struct {
	UserNanos   int64 `json:"user_nanos"`
	SystemNanos int64 `json:"system_nanos"`
}

type handshakes struct {
	Completed    int         `json:"completed"`
	Failed       int         `json:"failed"`
	FirstFailure *string     `json:"first_failure"`
	Resumed      int         `json:"resumed"`
	Fresh        int         `json:"fresh"`
	Negotiated   *negotiated `json:"negotiated"`
	ElapsedNanos int64       `json:"elapsed_nanos"`
	CPU          cpuTime     `json:"cpu"`
	RoundsNanos  []int64     `json:"rounds_nanos"`
}

type negotiated struct {
	Version     string  `json:"version"`
	CipherSuite string  `json:"cipher_suite"`
	Group       *string `json:"group"`
}

type held struct {
	Held         int     `json:"held"`
	Failed       int     `json:"failed"`
	FirstFailure *string `json:"first_failure"`
}

type bulk struct {
	Bytes        int64   `json:"bytes"`
	ElapsedNanos int64   `json:"elapsed_nanos"`
	CPU          cpuTime `json:"cpu"`
}

func main() {
	log.SetFlags(0)
	log.SetPrefix("typha-tls-bench: ")
	if err := work(); err != nil {
		log.Fatal(err)
	}
}

func work() error {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	if !lines.Scan() {
		return lines.Err()
	}
	var s setup
	if err := json.Unmarshal(lines.Bytes(), &s); err != nil {
		return fmt.Errorf("not a line for a worker: %w: %s", err, lines.Text())
	}
	runtime.GOMAXPROCS(max(s.Threads, 1))
	end, address, err := newEnd(s)
	if err != nil {
		return err
	}
	answers := json.NewEncoder(os.Stdout)
	if err := answers.Encode(ready{address, runtime.Version() + " crypto/tls"}); err != nil {
		return err
	}
	for lines.Scan() {
		var r request
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			return fmt.Errorf("not a line for a worker: %w: %s", err, lines.Text())
		}
		answer, err := end.answer(r)
		if err != nil {
			return err
		}
		if err := answers.Encode(answer); err != nil {
			return err
		}
	}
	return lines.Err()
}

// end is Typha or Felix.
type end interface {
	answer(request) (any, error)
}

func newEnd(s setup) (end, *string, error) {
	config, roots, err := s.config()
	if err != nil {
		return nil, nil, err
	}
	switch s.End {
	case "typha":
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, nil, err
		}
		t := &typha{config: s.typhaConfig(config, roots)}
		go t.accept(listener)
		address := listener.Addr().String()
		return t, &address, nil
	case "felix":
		if err := s.felixConfig(config, roots); err != nil {
			return nil, nil, err
		}
		return &felix{config: config}, nil, nil
	}
	return nil, nil, fmt.Errorf("Go's worker cannot be the end %q", s.End)
}

func misdirected(r request) error {
	return fmt.Errorf("this end cannot do what the request asks for: %q", r.Request)
}
