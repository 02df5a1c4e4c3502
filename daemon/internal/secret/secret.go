// Package secret reads secrets from files.
package secret

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/statesync/statesync/daemon/internal/plain"
)

const maxBytes = 4 << 10

// Read returns the content of a small file that not every user can open, without the end
// of its line. No error contains any of it.
func Read(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return "", err
	case !info.Mode().IsRegular():
		return "", fmt.Errorf("%s is not a file", plain.Text(name))
	case info.Mode()&0o007 != 0:
		return "", fmt.Errorf("every user can open %s (mode %04o); chmod o= it", plain.Text(name), info.Mode().Perm())
	}
	text, err := io.ReadAll(io.LimitReader(f, maxBytes+1))
	if err == nil && len(text) > maxBytes {
		err = fmt.Errorf("%s is longer than %d bytes", plain.Text(name), maxBytes)
	}
	return strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r"), err
}
