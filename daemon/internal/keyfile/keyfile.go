// Package keyfile reads small files, such as those that operators give: keys, signers and
// secrets.
package keyfile

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/statesync/statesync/daemon/internal/plain"
)

const maxSecret = 4 << 10 // bytes

// Read returns the content of a file of at most so many bytes.
func Read(name string, most int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return read(f, most)
}

func read(f *os.File, most int64) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(text)) > most {
		err = fmt.Errorf("%s is longer than %d bytes", plain.Text(f.Name()), most)
	}
	return text, err
}

// ReadSecret returns the content of a small file that not every user can open, without the
// end of its line. No error contains any of it.
func ReadSecret(name string) (string, error) {
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
	text, err := read(f, maxSecret)
	return strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r"), err
}

// Lines calls f with the number of each line that is neither empty nor a comment, which
// begins with a #. Its error is that of f, after the number.
func Lines(text []byte, f func(number int, line string) error) error {
	number := 0
	for line := range bytes.Lines(text) {
		number++
		s := strings.TrimSpace(string(line))
		if s == "" || s[0] == '#' {
			continue
		}
		if err := f(number, s); err != nil {
			return fmt.Errorf("%d: %w", number, err)
		}
	}
	return nil
}
