//go:build unix

package git

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/statesync/statesync/daemon/internal/plain"
)

const (
	maxObject  = 1 << 20 // bytes of a commit or a tag
	maxText    = 200     // bytes of one value of Snapshot.Meta
	maxOffset  = 24 * 60 // minutes
	keyCommit  = "commit"
	keyAuthor  = "author"
	keyTime    = "committed-at"
	keySubject = "subject"
	keySigner  = "signer"
)

// object reads a commit or a tag as it is stored.
func (r *repository) object(ctx context.Context, kind string, name oid) (data []byte, err error) {
	err = r.git.run(ctx, call{args: []string{"cat-file", kind, string(name)}, output: func(in io.Reader) (err error) {
		if data, err = io.ReadAll(io.LimitReader(in, maxObject+1)); len(data) > maxObject {
			err = refusef("the %s %s has more than %d bytes", kind, name, maxObject)
		}
		return err
	}})
	if exited(err) {
		err = fmt.Errorf("%w: %w", errDamaged, err)
	}
	return data, err
}

// describe returns what a commit says of itself, for people.
func describe(commit oid, data []byte) map[string]string {
	meta := map[string]string{keyCommit: string(commit)}
	head, message, _ := bytes.Cut(data, []byte("\n\n"))
	for line := range bytes.Lines(head) {
		name, value, _ := strings.Cut(strings.TrimSuffix(string(line), "\n"), " ")
		switch name {
		case "author":
			author, _, _ := cutTime(value)
			meta[keyAuthor] = plain.Line(author, maxText)
		case "committer":
			if _, at, ok := cutTime(value); ok {
				meta[keyTime] = at.Format(time.RFC3339)
			}
		}
	}
	subject, _, _ := strings.Cut(strings.TrimLeft(string(message), "\n"), "\n")
	if subject = strings.TrimSpace(subject); subject != "" {
		meta[keySubject] = plain.Line(subject, maxText)
	}
	return meta
}

// cutTime splits "NAME <EMAIL> SECONDS +HHMM".
func cutTime(value string) (who string, at time.Time, ok bool) {
	end := strings.LastIndexByte(value, '>') + 1
	fields := strings.Fields(value[end:])
	who = strings.TrimSpace(value[:end])
	if end == 0 || len(fields) != 2 {
		return who, at, false
	}
	seconds, err := strconv.ParseInt(fields[0], 10, 64)
	zone, zoneErr := strconv.Atoi(fields[1])
	offset := zone/100*60 + zone%100
	if err != nil || zoneErr != nil || seconds < 0 || seconds > 1<<40 || offset < -maxOffset || offset > maxOffset {
		return who, at, false
	}
	return who, time.Unix(seconds, 0).In(time.FixedZone("", offset*60)), true
}
