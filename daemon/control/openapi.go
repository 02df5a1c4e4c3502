//go:build unix

package control

import (
	_ "embed"
	"net/http"
)

//go:embed openapi.yaml
var openAPIText []byte

// openAPI answers with the description of the sockets' protocol.
func openAPI(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/yaml")
	_, _ = w.Write(openAPIText)
}
