//go:build unix

package main

import (
	"fmt"
	"io/fs"
	"os/user"
	"strconv"
	"strings"
)

// fileMode is the flag of the region's mode.
type fileMode fs.FileMode

func (m *fileMode) String() string { return fmt.Sprintf("%04o", uint32(*m)) }

// Set accepts the octal modes that a region may have.
func (m *fileMode) Set(text string) error {
	n, err := strconv.ParseUint(strings.TrimPrefix(text, "0o"), 8, 32)
	if err != nil || n&^0o644 != 0 || n&0o600 != 0o600 {
		return fmt.Errorf("%q is not a valid mode for a region; it must be 0600, 0640 or 0644", text)
	}
	*m = fileMode(n)
	return nil
}

// Type is what the help calls the value.
func (m *fileMode) Type() string { return "mode" }

// group is the flag of the region's group, as a gid; -1 is none.
type group int

func (g *group) String() string {
	if *g < 0 {
		return ""
	}
	return strconv.Itoa(int(*g))
}

// Set accepts the name of a group, or its number.
func (g *group) Set(text string) error {
	if n, err := strconv.ParseUint(text, 10, 31); err == nil {
		*g = group(n)
		return nil
	}
	found, err := user.LookupGroup(text)
	if err != nil {
		return fmt.Errorf("%q is neither a group of this machine nor a number; see getent group", text)
	}
	n, err := strconv.Atoi(found.Gid)
	if err != nil {
		return fmt.Errorf("the group %q has the number %q", text, found.Gid)
	}
	*g = group(n)
	return nil
}

// Type is what the help calls the value.
func (g *group) Type() string { return "group" }

// percent is a flag from 0 to 100.
type percent int

func (p *percent) String() string { return strconv.Itoa(int(*p)) + "%" }

// Set accepts a number, with or without the sign.
func (p *percent) Set(text string) error {
	n, err := strconv.Atoi(strings.TrimSuffix(text, "%"))
	if err != nil || n < 0 || n > 100 {
		return fmt.Errorf("%q is not a percentage; give 0 to 100", text)
	}
	*p = percent(n)
	return nil
}

// Type is what the help calls the value.
func (p *percent) Type() string { return "percent" }

// option is the percentage as the daemon's options have it, where 0 is the default.
func (p percent) option() int {
	if p == 0 {
		return -1
	}
	return int(p)
}
