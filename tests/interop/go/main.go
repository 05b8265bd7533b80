// Command interop is one end of a Felix-Typha connection, configured as Calico configures crypto/tls.
//
// "interop typha" serves one connection, on the address that it prints first; "interop felix" makes one. Both send
// bytes of their standard input, receive until the other end closes, and print the outcome as one line of JSON. A
// refused handshake is an outcome too; the exit code tells only whether there is one.
//
// "interop judge FILE" makes no connection. It judges chains: see judge.go.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"strings"
	"time"
)

const timeLimit = 20 * time.Second

type options struct {
	caFile, certFile, keyFile string
	requiredCN, requiredURI   string
	maxVersion                string
	connect                   string
	ignoreHints               bool
	alpn                      string
	send                      int
}

// outcome is what this end saw of the connection.
type outcome struct {
	Error      string `json:"error"`
	Version    string `json:"version"`
	CommonName string `json:"common_name"`
	ALPN       string `json:"alpn"`
	Received   string `json:"received"` // in hexadecimal
}

type connection struct {
	*tls.Conn
	wire *wire
}

// wire notes that TCP came to its end while TLS was still reading: crypto/tls takes that for close_notify if it happens
// between two records.
type wire struct {
	net.Conn
	ended bool
}

func (w *wire) Read(buffer []byte) (int, error) {
	count, err := w.Conn.Read(buffer)
	if err == io.EOF {
		w.ended = true
	}
	return count, err
}

func main() {
	log.SetFlags(0)
	if len(os.Args) < 2 {
		log.Fatal("usage: interop typha|felix [flags], or interop judge FILE")
	}
	if os.Args[1] == "judge" {
		if err := judge(os.Args[2]); err != nil {
			log.Fatal(err)
		}
		return
	}
	var o options
	flags := flag.NewFlagSet(os.Args[1], flag.ExitOnError)
	flags.StringVar(&o.caFile, "ca", "", "PEM `file` of the CAs that the peer may have")
	flags.StringVar(&o.certFile, "cert", "", "PEM `file` of this end's chain; none is presented without it")
	flags.StringVar(&o.keyFile, "key", "", "PEM `file` of this end's key")
	flags.StringVar(&o.requiredCN, "cn", "", "Common Name that the peer must have")
	flags.StringVar(&o.requiredURI, "uri", "", "URI SAN that the peer must have")
	flags.StringVar(&o.maxVersion, "max-version", "1.3", "highest TLS version: 1.2 or 1.3")
	flags.StringVar(&o.connect, "connect", "", "felix: `address` of Typha")
	flags.BoolVar(&o.ignoreHints, "ignore-hints", false, "felix: present the chain whichever CAs Typha names")
	flags.StringVar(&o.alpn, "alpn", "", "application protocols, separated by commas")
	flags.IntVar(&o.send, "send", 0, "how many `bytes` of the standard input to send")
	if err := flags.Parse(os.Args[2:]); err != nil {
		log.Fatal(err)
	}

	var conn *connection
	var err error
	switch os.Args[1] {
	case "felix":
		conn, err = dial(o)
	case "typha":
		conn, err = serve(o)
	default:
		err = fmt.Errorf("unknown end %q", os.Args[1])
	}
	if err != nil {
		log.Fatal(err)
	}
	if err := json.NewEncoder(os.Stdout).Encode(talk(conn, o.send)); err != nil {
		log.Fatal(err)
	}
}

func serve(o options) (*connection, error) {
	config, pool, err := o.config()
	if err != nil {
		return nil, err
	}
	config.ClientAuth = tls.RequireAndVerifyClientCert
	config.ClientCAs = pool
	config.VerifyPeerCertificate = func(_ [][]byte, chains [][]*x509.Certificate) error {
		return o.checkIdentity(chains[0][0])
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	defer listener.Close()
	fmt.Println("ACCEPT", listener.Addr())
	if err := listener.(*net.TCPListener).SetDeadline(time.Now().Add(timeLimit)); err != nil {
		return nil, err
	}
	conn, err := listener.Accept()
	if err != nil {
		return nil, err
	}
	wire := &wire{Conn: conn}
	return &connection{tls.Server(wire, config), wire}, nil
}

func dial(o options) (*connection, error) {
	config, pool, err := o.config()
	if err != nil {
		return nil, err
	}
	// Typha's name and address are not checked, so the chain must be checked here.
	config.InsecureSkipVerify = true
	config.VerifyPeerCertificate = func(raw [][]byte, _ [][]*x509.Certificate) error {
		leaf, err := checkChain(raw, pool, x509.ExtKeyUsageServerAuth, time.Now())
		if err != nil {
			return err
		}
		return o.checkIdentity(leaf)
	}
	if o.ignoreHints {
		chain := config.Certificates[0]
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &chain, nil }
	}
	conn, err := net.DialTimeout("tcp", o.connect, timeLimit)
	if err != nil {
		return nil, err
	}
	wire := &wire{Conn: conn}
	return &connection{tls.Client(wire, config), wire}, nil
}

func (o options) config() (*tls.Config, *x509.CertPool, error) {
	bundle, err := os.ReadFile(o.caFile)
	if err != nil {
		return nil, nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(bundle) {
		return nil, nil, errors.New("no CA in " + o.caFile)
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if o.alpn != "" {
		config.NextProtos = strings.Split(o.alpn, ",")
	}
	switch o.maxVersion {
	case "1.2":
		config.MaxVersion = tls.VersionTLS12
	case "1.3":
		config.MaxVersion = tls.VersionTLS13
	default:
		return nil, nil, fmt.Errorf("unknown version %q", o.maxVersion)
	}
	if o.certFile != "" {
		chain, err := tls.LoadX509KeyPair(o.certFile, o.keyFile)
		if err != nil {
			return nil, nil, err
		}
		config.Certificates = []tls.Certificate{chain}
	}
	return config, pool, nil
}

func checkChain(
	raw [][]byte, roots *x509.CertPool, usage x509.ExtKeyUsage, now time.Time,
) (*x509.Certificate, error) {
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
		CurrentTime:   now,
		KeyUsages:     []x509.ExtKeyUsage{usage},
	})
	return leaf, err
}

// checkIdentity accepts a leaf that has the required Common Name, or one of whose URI SANs is the required one.
func (o options) checkIdentity(leaf *x509.Certificate) error {
	if o.requiredCN != "" && leaf.Subject.CommonName == o.requiredCN {
		return nil
	}
	for _, uri := range leaf.URIs {
		if o.requiredURI != "" && uri.String() == o.requiredURI {
			return nil
		}
	}
	return fmt.Errorf("identity refused: CN %q, URI SANs %v", leaf.Subject.CommonName, leaf.URIs)
}

func talk(conn *connection, send int) (seen outcome) {
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(timeLimit)); err != nil {
		return outcome{Error: err.Error()}
	}
	if err := conn.Handshake(); err != nil {
		return outcome{Error: err.Error()}
	}
	state := conn.ConnectionState()
	seen.Version = map[uint16]string{tls.VersionTLS12: "1.2", tls.VersionTLS13: "1.3"}[state.Version]
	seen.ALPN = state.NegotiatedProtocol
	seen.CommonName = state.PeerCertificates[0].Subject.CommonName

	sent := make(chan error, 1)
	go func() { sent <- sendInput(conn, send) }()
	received, err := io.ReadAll(conn)
	if err == nil && conn.wire.ended {
		err = errors.New("the connection ended without close_notify")
	}
	if err == nil {
		err = <-sent
	}
	if err != nil {
		seen.Error = err.Error()
	}
	seen.Received = hex.EncodeToString(received)
	return seen
}

func sendInput(conn *connection, count int) error {
	if _, err := io.CopyN(conn, os.Stdin, int64(count)); err != nil {
		return err
	}
	return conn.CloseWrite()
}
