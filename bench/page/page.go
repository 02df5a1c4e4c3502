// Package page writes what was measured into the documentation. Only commands that measure
// import it.
package page

import (
	"fmt"
	"os"
	"strings"
)

// Write puts a text between two lines of a file, begin and end.
func Write(file, begin, end, text string) error {
	whole, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	before, rest, found := strings.Cut(string(whole), begin)
	_, after, closed := strings.Cut(rest, end)
	if !found || !closed {
		return fmt.Errorf("%s has not both of the lines %q and %q", file, begin, end)
	}
	return os.WriteFile(file, []byte(before+begin+"\n"+text+"\n"+end+after), 0o644)
}
