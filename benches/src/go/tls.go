// How the two ends are configured, and check each other.

package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
)

// groups by the names that IANA has for them.
var groups = map[string]tls.CurveID{
	"x25519":         tls.X25519,
	"X25519MLKEM768": tls.X25519MLKEM768,
	"secp256r1":      tls.CurveP256,
	"secp384r1":      tls.CurveP384,
}

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
	for _, name := range s.Groups {
		group, known := groups[name]
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

// checkIdentity accepts a leaf that has the required Common Name, or one of whose URI SANs is the required one. It
// looks at both in any case, as the verifier of Calico does.
func (s setup) checkIdentity(leaf *x509.Certificate) error {
	common := s.Required.CommonName != nil && leaf.Subject.CommonName == *s.Required.CommonName
	named := false
	if s.Required.URISAN != nil {
		for _, uri := range leaf.URIs {
			if uri.String() == *s.Required.URISAN {
				named = true
			}
		}
	}
	if common || named {
		return nil
	}
	return fmt.Errorf("identity refused: CN %q, URI SANs %v", leaf.Subject.CommonName, leaf.URIs)
}
