//go:build go1.25

// The group of a connection, which crypto/tls reports since Go 1.25.

package main

import "crypto/tls"

func curve(state tls.ConnectionState) tls.CurveID { return state.CurveID }
