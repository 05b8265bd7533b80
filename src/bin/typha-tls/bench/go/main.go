// Command typha-tls-bench is one end of a Felix-Typha connection on crypto/tls, configured as Calico does it, that
// "typha-tls bench" measures. What it is and does comes as lines of JSON on stdin; protocol.rs describes them.
package main

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// limit bounds everything that is done on a new connection, so that no request waits for ever.
	limit = 10 * time.Second
	// handshakeTimeout is Calico's bound for Typha's end.
	handshakeTimeout = 10 * time.Second
	// portPause is the pause when all local ports are taken.
	portPause = 10 * time.Millisecond
	// acceptPause is the pause after an error of Accept: running out of file descriptors lasts.
	acceptPause = 100 * time.Millisecond
	// openingAtOnce is the number of handshakes that are under way at once when connections are to be held.
	openingAtOnce = 32
	// bulkLength is what is sent or read at a time when there is much of it.
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
	Request     string          `json:"request"`
	Address     string          `json:"address"`
	Clients     int             `json:"clients"`
	Millis      int64           `json:"millis"`
	Fresh       json.RawMessage `json:"fresh"`
	Connections int             `json:"connections"`
	Direction   string          `json:"direction"`
	Memory      bool            `json:"memory"`
}

type usage struct {
	CPUNanos      int64 `json:"cpu_nanos"`
	ResidentBytes int64 `json:"resident_bytes"`
	Accepted      int64 `json:"accepted"`
	Failed        int64 `json:"failed"`
	Resumed       int64 `json:"resumed"`
}

type handshakes struct {
	Completed    int     `json:"completed"`
	Failed       int     `json:"failed"`
	FirstFailure *string `json:"first_failure"`
	Resumed      int     `json:"resumed"`
	ElapsedNanos int64   `json:"elapsed_nanos"`
	CPUNanos     int64   `json:"cpu_nanos"`
	P50Nanos     int64   `json:"p50_nanos"`
	P99Nanos     int64   `json:"p99_nanos"`
}

type held struct {
	Held         int     `json:"held"`
	Failed       int     `json:"failed"`
	FirstFailure *string `json:"first_failure"`
}

type bulk struct {
	Bytes        int64 `json:"bytes"`
	ElapsedNanos int64 `json:"elapsed_nanos"`
	CPUNanos     int64 `json:"cpu_nanos"`
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
		return fmt.Errorf("not a line that a worker is told: %w: %s", err, lines.Text())
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
			return fmt.Errorf("not a line that a worker is told: %w: %s", err, lines.Text())
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
	return nil, nil, fmt.Errorf("Go's worker can not be the end %q", s.End)
}

func misdirected(r request) error {
	return fmt.Errorf("this end can not do what is asked of it: %q", r.Request)
}

// Configuration.

func (s setup) config() (*tls.Config, *x509.CertPool, error) {
	bundle, err := os.ReadFile(s.Files.CA)
	if err != nil {
		return nil, nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(bundle) {
		return nil, nil, errors.New("no CA in " + s.Files.CA)
	}
	chain, err := tls.LoadX509KeyPair(s.Files.Chain, s.Files.Key)
	if err != nil {
		return nil, nil, err
	}
	config := &tls.Config{
		Certificates: []tls.Certificate{chain},
		MinVersion:   tls.VersionTLS12,
		MaxVersion:   tls.VersionTLS13,
	}
	return config, roots, nil
}

func (s setup) typhaConfig(config *tls.Config, roots *x509.CertPool) *tls.Config {
	config.ClientAuth = tls.RequireAndVerifyClientCert
	config.ClientCAs = roots
	config.VerifyPeerCertificate = func(_ [][]byte, chains [][]*x509.Certificate) error {
		return s.checkIdentity(chains[0][0])
	}
	return config
}

func (s setup) felixConfig(config *tls.Config, roots *x509.CertPool) error {
	// Typha's name and address are not checked, so the chain must be checked here.
	config.InsecureSkipVerify = true
	config.VerifyPeerCertificate = func(raw [][]byte, _ [][]*x509.Certificate) error {
		leaf, err := checkChain(raw, roots)
		if err != nil {
			return err
		}
		return s.checkIdentity(leaf)
	}
	switch s.MaxVersion {
	case "1.2":
		config.MaxVersion = tls.VersionTLS12
	case "1.3":
	default:
		return fmt.Errorf("unknown version %q", s.MaxVersion)
	}
	groups := map[string]tls.CurveID{
		"x25519":         tls.X25519,
		"x25519mlkem768": tls.X25519MLKEM768,
		"secp256r1":      tls.CurveP256,
		"secp384r1":      tls.CurveP384,
	}
	for _, name := range s.Groups {
		group, known := groups[strings.ToLower(name)]
		if !known {
			return fmt.Errorf("unknown group %q", name)
		}
		config.CurvePreferences = append(config.CurvePreferences, group)
	}
	if s.Resumption {
		config.ClientSessionCache = tls.NewLRUClientSessionCache(0)
	}
	return nil
}

func checkChain(raw [][]byte, roots *x509.CertPool) (*x509.Certificate, error) {
	var leaf *x509.Certificate
	intermediates := x509.NewCertPool()
	for _, der := range raw {
		certificate, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, err
		}
		if leaf == nil {
			leaf = certificate
		} else {
			intermediates.AddCert(certificate)
		}
	}
	if leaf == nil {
		return nil, errors.New("no certificate")
	}
	_, err := leaf.Verify(x509.VerifyOptions{
		Roots:         roots,
		Intermediates: intermediates,
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	return leaf, err
}

// checkIdentity accepts a leaf that has the required Common Name, or one of whose URI SANs is the required one.
func (s setup) checkIdentity(leaf *x509.Certificate) error {
	if s.Required.CommonName != nil && leaf.Subject.CommonName == *s.Required.CommonName {
		return nil
	}
	if s.Required.URISAN != nil {
		for _, uri := range leaf.URIs {
			if uri.String() == *s.Required.URISAN {
				return nil
			}
		}
	}
	return fmt.Errorf("identity refused: CN %q, URI SANs %v", leaf.Subject.CommonName, leaf.URIs)
}

// Usage.

func cpu() (int64, error) {
	var spent syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &spent); err != nil {
		return 0, err
	}
	return spent.Utime.Nano() + spent.Stime.Nano(), nil
}

func resident() (int64, error) {
	statm, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0, err
	}
	columns := strings.Fields(string(statm))
	if len(columns) < 2 {
		return 0, fmt.Errorf("/proc/self/statm has no second column: %s", statm)
	}
	pages, err := strconv.ParseInt(columns[1], 10, 64)
	return pages * int64(os.Getpagesize()), err
}

// currentUsage collects garbage only for the sake of memory: the next handshakes would pay for it.
func currentUsage(memory bool) (u usage, err error) {
	if memory {
		debug.FreeOSMemory()
	}
	if u.ResidentBytes, err = resident(); err != nil {
		return u, err
	}
	u.CPUNanos, err = cpu()
	return u, err
}

// Typha's end.

type typha struct {
	config                    *tls.Config
	accepted, failed, resumed atomic.Int64
}

func (t *typha) answer(r request) (any, error) {
	if r.Request != "usage" {
		return nil, misdirected(r)
	}
	u, err := currentUsage(r.Memory)
	u.Accepted, u.Failed, u.Resumed = t.accepted.Load(), t.failed.Load(), t.resumed.Load()
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

// serve ends with the connection, as the other implementations do: without a goodbye of TLS to a Felix that has gone. How
// a connection ends is Felix's affair.
func (t *typha) serve(tcp net.Conn) {
	defer tcp.Close()
	conn := tls.Server(tcp, t.config)
	if err := handshake(conn); err != nil {
		t.failed.Add(1)
		return
	}
	// Before Felix hears of it, so that the counts of both ends agree.
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
		sendAll(conn)
	case 'u':
		receiveAll(conn)
		// Felix waits for it: by then all that it sent has arrived.
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

func sendAll(conn *tls.Conn) {
	data := make([]byte, bulkLength)
	for {
		if _, err := conn.Write(data); err != nil {
			return
		}
	}
}

func receiveAll(conn *tls.Conn) {
	buffer := make([]byte, bulkLength)
	for {
		if _, err := conn.Read(buffer); err != nil {
			return
		}
	}
}

// Felix's end.

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

// upload counts until Typha has closed in its turn, which it does when it has received everything: what is still in
// buffers is not counted as sent for nothing.
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
	return bulk{bytes, elapsed.Nanoseconds(), cpuAfter - cpuBefore}, err
}
