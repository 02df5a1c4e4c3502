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
	"strings"
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

// ParseURL parses a URL. The error is the end of a sentence that begins with the source, and
// names an example. It never quotes a password.
func ParseURL(text, example string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil && strings.Contains(text, "@"):
		return nil, fmt.Errorf("names a URL that cannot be parsed; write it as in %s", example)
	case err != nil:
		return nil, fmt.Errorf("names a URL that cannot be parsed (%w); write it as in %s", err, example)
	}
	return u, nil
}

// Loopback reports whether the host of a URL is this one, as far as its name tells.
func Loopback(u *url.URL) bool {
	if u.Hostname() == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(u.Hostname())
	return err == nil && ip.IsLoopback()
}
