//go:build go1.25

// The group of a connection, which crypto/tls tells since Go 1.25.

package main

import "crypto/tls"

func curve(state tls.ConnectionState) tls.CurveID { return state.CurveID }
