//go:build !go1.25

// The group of a connection, which crypto/tls does not report before Go 1.25.

package main

import "crypto/tls"

func curve(tls.ConnectionState) tls.CurveID { return 0 }
