package main

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"time"
)

// chainCase is a chain as the peer sends it, and what the other end trusts and requires.
type chainCase struct {
	Chain       []der   `json:"chain"`
	Bundle      []der   `json:"bundle"`
	Peer        string  `json:"peer"` // felix or typha
	RequiredCN  string  `json:"cn"`
	RequiredURI string  `json:"uri"`
	Host        *string `json:"host"` // if it is there, the peer is a server that must be valid for it
	Now         int64   `json:"now"`  // in seconds since 1970
}

// der is written in hexadecimal.
type der []byte

func (d *der) UnmarshalText(text []byte) (err error) {
	*d, err = hex.DecodeString(string(text))
	return err
}

// judge reads a file with one case in each line. It prints the version of Go, and then for each case a line with the
// error as a JSON string, which is empty if the peer is accepted.
func judge(name string) error {
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	out := bufio.NewWriter(os.Stdout)
	fmt.Fprintln(out, runtime.Version())
	verdicts := json.NewEncoder(out)
	cases := json.NewDecoder(bufio.NewReader(file))
	for {
		var c chainCase
		if err := cases.Decode(&c); err == io.EOF {
			return out.Flush()
		} else if err != nil {
			return err
		}
		text := ""
		if err := c.verdict(); err != nil {
			text = err.Error()
		}
		if err := verdicts.Encode(text); err != nil {
			return err
		}
	}
}

// verdict makes the checks of crypto/tls and of Calico's callback in the handshake of a good key.
func (c chainCase) verdict() error {
	var bundle []byte
	for _, entry := range c.Bundle {
		bundle = append(bundle, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: entry})...)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(bundle) {
		return errors.New("no CA in the bundle")
	}
	usage := x509.ExtKeyUsageServerAuth
	if c.Peer == "felix" {
		usage = x509.ExtKeyUsageClientAuth
	}
	raw := make([][]byte, len(c.Chain))
	for i, certificate := range c.Chain {
		raw[i] = certificate
	}
	leaf, err := checkChain(raw, pool, usage, time.Unix(c.Now, 0))
	if err != nil {
		return err
	}
	if c.Host != nil {
		return leaf.VerifyHostname(*c.Host)
	}
	switch leaf.PublicKey.(type) {
	case *ecdsa.PublicKey, *rsa.PublicKey, ed25519.PublicKey:
	default:
		return fmt.Errorf("unsupported public key of type %T", leaf.PublicKey)
	}
	return options{requiredCN: c.RequiredCN, requiredURI: c.RequiredURI}.checkIdentity(leaf)
}
