// Command manpage writes the manual pages of commands from what they say to
// --help. It runs each command that it is given, as PATH:SECTION, and each of
// the commands below it, and writes DIR/man1/statesync.1,
// DIR/man1/statesync-get.1 and so on.
//
//	manpage -version 1.2.3 -date 2026-01-31 -dir dist/man bin/statesync:1 bin/statesyncd:8
//
// So the commands themselves carry nothing for it, and a page can't say anything
// else than the help.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

func main() {
	version := flag.String("version", "", "the `version` in the pages' footer")
	date := flag.String("date", "", "the `date` there")
	dir := flag.String("dir", ".", "the `directory` to write to")
	flag.Parse()
	var pages []*page
	for _, arg := range flag.Args() {
		more, err := pagesOf(arg)
		if err != nil {
			fmt.Fprintf(os.Stderr, "manpage: %s: %v\n", arg, err)
			os.Exit(1)
		}
		pages = append(pages, more...)
	}
	for _, p := range pages {
		path := filepath.Join(*dir, "man"+p.section, p.file())
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		if err == nil {
			err = os.WriteFile(path, p.roff(*version, *date, pages), 0o644)
		}
		if err != nil {
			fmt.Fprintf(os.Stderr, "manpage: %v\n", err)
			os.Exit(1)
		}
	}
}

// pagesOf makes the pages of a command, PATH:SECTION, and of those below it.
func pagesOf(arg string) ([]*page, error) {
	path, section, ok := strings.Cut(arg, ":")
	if !ok {
		return nil, fmt.Errorf("name a command and its section, as bin/statesync:1")
	}
	text, err := help(path)
	if err != nil {
		return nil, err
	}
	root := parse(filepath.Base(path), section, text)
	if root.short == "" {
		return nil, fmt.Errorf("its help does not begin with a sentence about %s", root.name)
	}
	pages := []*page{root}
	for _, c := range root.commands() {
		text, err := help(path, c.term)
		if err != nil {
			return nil, err
		}
		p := parse(root.name+" "+c.term, section, text)
		p.short = c.text
		pages = append(pages, p)
	}
	return pages, nil
}

// help is what a command says to --help.
func help(path string, args ...string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	var stderr bytes.Buffer
	cmd := exec.Command(path, append(args, "--help")...)
	cmd.Env = []string{} // a default may come from there
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return string(out), nil
}
