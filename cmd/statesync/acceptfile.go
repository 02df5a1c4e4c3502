package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/statesync/statesync/daemon/source"
)

// acceptComment begins a new file of accepted contents.
const acceptComment = "# Contents that may pass the guards of statesyncd, by statesync check --accept-file."

// maxAccepted is how many digests the file keeps, the newest first. The daemon reads the
// first 4 KiB.
const maxAccepted = 20

// acceptFile adds the digest of a content to those that a directory lets pass the guards.
func (a *app) acceptFile(dir, digest string) error {
	path := filepath.Join(dir, source.AcceptFile)
	old, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	text := accepting(string(old), digest)
	if text == string(old) {
		fmt.Fprintf(a.stderr, "%s has it already\n", escape(path))
		return nil
	}
	if err := replaceFile(path, []byte(text)); err != nil {
		return err
	}
	fmt.Fprintf(a.stderr, "%s lets this content pass the guards now; deliver it with the rest\n", escape(path))
	return nil
}

// accepting is the text of the file with one more digest. Comments stay, at the top.
func accepting(old, digest string) string {
	if slices.Contains(strings.Fields(old), digest) {
		return old
	}
	var comments []string
	digests := []string{digest}
	for line := range strings.Lines(old) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "#") {
			comments = append(comments, line)
		} else {
			digests = append(digests, strings.Fields(line)...)
		}
	}
	if comments == nil {
		comments = []string{acceptComment}
	}
	return strings.Join(slices.Concat(comments, digests[:min(len(digests), maxAccepted)]), "\n") + "\n"
}
