package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// createFile writes a file that is not there yet.
func createFile(name, text string, mode fs.FileMode) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	if err := fill(f, []byte(text)); err != nil {
		return errors.Join(err, os.Remove(name))
	}
	return nil
}

// fill writes a file to stable storage and closes it.
func fill(f *os.File, data []byte) error {
	_, err := f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// replaceFile writes a file that all may read, whole or not at all. Sources ignore the
// temporary one.
func replaceFile(name string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*.tmp")
	if err != nil {
		return err
	}
	if err = errors.Join(f.Chmod(0o644), fill(f, data)); err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}
