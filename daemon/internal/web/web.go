// Package web is how sources reach servers over http and https: by the proxies and the
// certificates that the usual variables name.
package web

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"time"
)

// Transport returns a new transport, whose connections are made within a time.
func Transport(dial time.Duration) (*http.Transport, error) {
	roots, err := certificates()
	if err != nil {
		return nil, err
	}
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            (&net.Dialer{Timeout: dial}).DialContext,
		TLSClientConfig:        &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		ForceAttemptHTTP2:      true,
		DisableCompression:     true,
		MaxIdleConnsPerHost:    1,
		IdleConnTimeout:        90 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
	}, nil
}

// certificates are those of SSL_CERT_FILE alone, as git takes them, or nil for the system's.
func certificates() (*x509.CertPool, error) {
	name := os.Getenv("SSL_CERT_FILE")
	if name == "" {
		return nil, nil
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("SSL_CERT_FILE=%s has no certificate", name)
	}
	return roots, nil
}

// Loopback reports whether the host of a URL is this one, as far as its name tells.
func Loopback(u *url.URL) bool {
	if u.Hostname() == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(u.Hostname())
	return err == nil && ip.IsLoopback()
}
