package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/statesync/statesync/daemon/control"
)

// What a commit says of itself is written by others.
func TestWhyOfACommit(t *testing.T) {
	var out bytes.Buffer
	why := control.Why{Config: "a", Generation: 3, Origins: []control.Origin{
		{Layer: "host", File: "a.yaml", Version: "5", Value: "2"},
		{Layer: "base", File: "a.yaml", Line: 1, Column: 4, Version: "main@sha1:0d1f", Value: "1", Commit: &control.Commit{
			Name: "0d1f4e0b2c6a", Author: "Ada <ada@example.com>", Time: time.Now(), Subject: "raise x \x1b[2J",
		}},
	}}
	if err := (&app{stdout: &out}).printWhy(why); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); !strings.Contains(got, "\nbase: a.yaml was last changed by 0d1f4e0b2c6a, ") || !strings.Contains(got, "Ada <ada@example.com>: raise x") ||
		strings.Contains(got, "\x1b") || strings.Count(got, "last changed") != 1 {
		t.Errorf("it says\n%s", got)
	}
}
