// Package webtest is for the tests of sources that are reached by https.
package webtest

import (
	"encoding/pem"
	"fmt"
	"net/http/httptest"
	"os"

	"go.uber.org/goleak"
)

// Main runs the tests with an environment that trusts the certificate that all servers of
// httptest have, and fails if a goroutine is left.
func Main(m goleak.TestingM) {
	ca, err := trustServers()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		_ = os.Remove(ca)
		os.Exit(code)
	}))
}

// trustServers returns the name of the file that has the certificate.
func trustServers() (name string, err error) {
	s := httptest.NewTLSServer(nil)
	defer s.Close()
	f, err := os.CreateTemp("", "statesync-webtest-")
	if err != nil {
		return "", err
	}
	defer f.Close()
	if err := pem.Encode(f, &pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}); err != nil {
		return "", err
	}
	return f.Name(), os.Setenv("SSL_CERT_FILE", f.Name())
}
