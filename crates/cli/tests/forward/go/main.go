// Command forward is one end of connections that sidecars carry, with or without TLS as Calico configures it.
//
// "forward server" prints its address and serves connections until its standard input ends. "forward client" makes
// connections. Of each connection, the client chooses the ending, and both ends check that they see it. Both print the
// number of connections for each ending, and the first mistakes, as one line of JSON.
package main

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"math/rand"
	"net"
	"os"
	"sync"
	"time"
)

// How a connection ends. The client sends it as the first byte.
const (
	clientFirst  = iota // the client closes its direction, and the server answers with what it got
	serverFirst         // the server closes its direction, and the client sends on
	bothAtOnce          // both send and close at once
	nothing             // both close without data
	clientResets        // the client resets after some data
	serverResets        // the server resets after some data
	lateReset           // the client resets after the server has closed its direction
	endings
)

var names = [endings]string{
	"client_first", "server_first", "both_at_once", "nothing", "client_resets", "server_resets", "late_reset",
}

const timeLimit = 120 * time.Second

type options struct {
	tls, caFile, certFile, keyFile, requiredCN string
	connect                                    string
	connections, atOnce                        int
	size                                       int
}

// report is what this end has seen.
type report struct {
	sync.Mutex
	Ended    map[string]int `json:"ended"`
	Mistakes []string       `json:"mistakes"`
}

func (r *report) add(name string, err error) {
	r.Lock()
	defer r.Unlock()
	if err == nil {
		r.Ended[name]++
	} else if len(r.Mistakes) < 10 {
		r.Mistakes = append(r.Mistakes, fmt.Sprintf("%s: %v", name, err))
	}
}

// conn is a connection with both ways to end.
type conn struct {
	net.Conn
	tcp   *net.TCPConn
	ended *bool // TCP has ended: crypto/tls takes that for close_notify
	close func() error
}

// wire notes that TCP has ended.
type wire struct {
	net.Conn
	ended *bool
}

func (w wire) Read(buffer []byte) (int, error) {
	count, err := w.Conn.Read(buffer)
	if err == io.EOF {
		*w.ended = true
	}
	return count, err
}

func (o options) wrap(tcp *net.TCPConn, config *tls.Config, isClient bool) *conn {
	_ = tcp.SetDeadline(time.Now().Add(timeLimit))
	ended := new(bool)
	if config == nil {
		return &conn{tcp, tcp, ended, tcp.CloseWrite}
	}
	below := wire{tcp, ended}
	var secured *tls.Conn
	if isClient {
		secured = tls.Client(below, config)
	} else {
		secured = tls.Server(below, config)
	}
	return &conn{secured, tcp, ended, secured.CloseWrite}
}

func (c *conn) reset() error {
	if err := c.tcp.SetLinger(0); err != nil {
		return err
	}
	return c.tcp.Close()
}

// end reads to the end, which must be in order and come after these bytes.
func (c *conn) end(expected []byte) error {
	received, err := io.ReadAll(c)
	if err != nil {
		return err
	}
	if _, isTLS := c.Conn.(*tls.Conn); isTLS && *c.ended && len(received) != len(expected) {
		return errors.New("the end without close_notify cuts data off")
	}
	if string(received) != string(expected) {
		return fmt.Errorf("%d bytes in place of %d, or other ones", len(received), len(expected))
	}
	return nil
}

// broken reads to the end, which must not be in order.
func (c *conn) broken() error {
	_, err := io.Copy(io.Discard, c)
	if err == nil {
		return errors.New("a reset arrived as an end in order")
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	return nil
}

// data returns the bytes that one end sends, in random pieces.
func data(seed byte, size int) []byte {
	random := rand.New(rand.NewSource(int64(seed)))
	bytes := make([]byte, size)
	random.Read(bytes)
	return bytes
}

func (c *conn) send(bytes []byte) error {
	for len(bytes) > 0 {
		length := min(1+rand.Intn(40000), len(bytes))
		if _, err := c.Write(bytes[:length]); err != nil {
			return err
		}
		bytes = bytes[length:]
	}
	return nil
}

func (c *conn) sendAll(bytes []byte) error {
	if err := c.send(bytes); err != nil {
		return err
	}
	return c.close()
}

func (c *conn) both(sent, expected []byte) error {
	sending := make(chan error, 1)
	go func() { sending <- c.sendAll(sent) }()
	if err := c.end(expected); err != nil {
		return err
	}
	return <-sending
}

func (c *conn) client(ending byte, size int) error {
	defer c.Close()
	ours, theirs := data(1, size), data(2, size)
	if secured, isTLS := c.Conn.(*tls.Conn); isTLS {
		if err := secured.Handshake(); err != nil {
			return err
		}
	}
	if ending == nothing {
		if err := c.close(); err != nil {
			return err
		}
		return c.end(nil)
	}
	if _, err := c.Write([]byte{ending}); err != nil {
		return err
	}
	switch ending {
	case clientFirst:
		return c.both(ours, ours)
	case serverFirst:
		if err := c.end(theirs); err != nil {
			return err
		}
		return c.sendAll(ours)
	case bothAtOnce:
		return c.both(ours, theirs)
	case serverResets:
		return c.broken()
	case lateReset:
		if err := c.end(theirs); err != nil {
			return err
		}
	}
	if err := c.send(ours); err != nil {
		return err
	}
	return c.reset()
}

func (c *conn) server(size int) (string, error) {
	defer c.Close()
	ours, theirs := data(2, size), data(1, size)
	var first [1]byte
	if _, err := io.ReadFull(c, first[:]); err == io.EOF {
		return names[nothing], c.close()
	} else if err != nil {
		return "start", err
	}
	name := names[first[0]]
	switch first[0] {
	case clientFirst:
		received, err := io.ReadAll(c)
		if err != nil {
			return name, err
		}
		return name, c.sendAll(received)
	case serverFirst:
		if err := c.sendAll(ours); err != nil {
			return name, err
		}
		return name, c.end(theirs)
	case bothAtOnce:
		return name, c.both(ours, theirs)
	case clientResets:
		return name, c.broken()
	case serverResets:
		if err := c.send(ours); err != nil {
			return name, err
		}
		return name, c.reset()
	default:
		if err := c.sendAll(ours); err != nil {
			return name, err
		}
		return name, c.broken()
	}
}

func (o options) config(isClient bool) (*tls.Config, error) {
	if o.tls == "" {
		return nil, nil
	}
	bundle, err := os.ReadFile(o.caFile)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(bundle) {
		return nil, errors.New("no CA")
	}
	chain, err := tls.LoadX509KeyPair(o.certFile, o.keyFile)
	if err != nil {
		return nil, err
	}
	checkName := func(leaf *x509.Certificate) error {
		if leaf.Subject.CommonName != o.requiredCN {
			return fmt.Errorf("identity refused: %q", leaf.Subject.CommonName)
		}
		return nil
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{chain}}
	if o.tls == "1.2" {
		config.MaxVersion = tls.VersionTLS12
	}
	if !isClient {
		config.ClientAuth, config.ClientCAs = tls.RequireAndVerifyClientCert, pool
		config.VerifyPeerCertificate = func(_ [][]byte, chains [][]*x509.Certificate) error {
			return checkName(chains[0][0])
		}
		return config, nil
	}
	// Typha's name and address are not checked, so the chain must be checked here.
	config.InsecureSkipVerify = true
	config.VerifyPeerCertificate = func(raw [][]byte, _ [][]*x509.Certificate) error {
		leaf, err := x509.ParseCertificate(raw[0])
		if err != nil {
			return err
		}
		usages := []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		if _, err := leaf.Verify(x509.VerifyOptions{Roots: pool, KeyUsages: usages}); err != nil {
			return err
		}
		return checkName(leaf)
	}
	return config, nil
}

func serve(o options, seen *report) error {
	config, err := o.config(false)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(listener.Addr())
	go func() {
		_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
		listener.Close()
	}()
	var running sync.WaitGroup
	for {
		tcp, err := listener.Accept()
		if err != nil {
			running.Wait()
			return nil
		}
		running.Add(1)
		go func() {
			defer running.Done()
			name, err := o.wrap(tcp.(*net.TCPConn), config, false).server(o.size)
			seen.add(name, err)
		}()
	}
}

func connect(o options, seen *report) error {
	config, err := o.config(true)
	if err != nil {
		return err
	}
	next := make(chan int)
	var running sync.WaitGroup
	for range o.atOnce {
		running.Add(1)
		go func() {
			defer running.Done()
			for number := range next {
				ending := byte(number % endings)
				tcp, err := net.DialTimeout("tcp", o.connect, timeLimit)
				if err == nil {
					err = o.wrap(tcp.(*net.TCPConn), config, true).client(ending, o.size)
				}
				seen.add(names[ending], err)
			}
		}()
	}
	for number := range o.connections {
		next <- number
	}
	close(next)
	running.Wait()
	return nil
}

func main() {
	log.SetFlags(0)
	var o options
	flags := flag.NewFlagSet("forward", flag.ExitOnError)
	flags.StringVar(&o.tls, "tls", "", "highest TLS `version`, 1.2 or 1.3; no TLS without it")
	flags.StringVar(&o.caFile, "ca", "", "PEM `file` of the CAs that the peer may have")
	flags.StringVar(&o.certFile, "cert", "", "PEM `file` of this end's chain")
	flags.StringVar(&o.keyFile, "key", "", "PEM `file` of this end's key")
	flags.StringVar(&o.requiredCN, "cn", "", "Common Name that the peer must have")
	flags.StringVar(&o.connect, "connect", "", "client: `address` of the server")
	flags.IntVar(&o.connections, "n", 1, "client: how many connections")
	flags.IntVar(&o.atOnce, "c", 1, "client: how many at once")
	flags.IntVar(&o.size, "size", 1000, "how many bytes each end sends")
	if len(os.Args) < 2 {
		log.Fatal("usage: forward server|client [flags]")
	}
	if err := flags.Parse(os.Args[2:]); err != nil {
		log.Fatal(err)
	}
	seen := &report{Ended: map[string]int{}, Mistakes: []string{}}
	run := connect
	if os.Args[1] == "server" {
		run = serve
	}
	if err := run(o, seen); err != nil {
		log.Fatal(err)
	}
	if err := json.NewEncoder(os.Stdout).Encode(seen); err != nil {
		log.Fatal(err)
	}
}
