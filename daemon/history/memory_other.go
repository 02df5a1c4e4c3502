//go:build !linux

package history

import (
	"errors"
	"os"
)

// memoryFile is a file that has no name and ends with the process.
func memoryFile() (*os.File, error) {
	f, err := os.CreateTemp("", "statesync-history-")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
