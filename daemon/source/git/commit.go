//go:build unix

package git

import (
	"bufio"
	"bytes"
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

// object is the beginning of one answer of cat-file, before its content.
type object struct {
	name oid // "": the repository has no such object
	kind string
	size int64
	said string // the whole line
	rest *bufio.Reader
}

// readObject reads "OID KIND SIZE\n", or "NAME missing\n".
func readObject(r *bufio.Reader) (object, error) {
	line, err := r.ReadString('\n')
	if err != nil {
		return object{}, fmt.Errorf("%w: an object cannot be read: %w", errDamaged, err)
	}
	o := object{said: strings.TrimSpace(line), rest: r}
	fields := strings.Fields(line)
	if len(fields) == 2 && fields[1] == "missing" {
		return o, nil
	}
	if len(fields) == 3 && IsObject(fields[0]) {
		if o.size, err = strconv.ParseInt(fields[2], 10, 64); err == nil && o.size >= 0 {
			o.name, o.kind = oid(fields[0]), fields[1]
			return o, nil
		}
	}
	return object{}, fmt.Errorf("%w: of an object it says %s", errDamaged, plain.Quote(o.said))
}

// content reads the content, and the "\n" after it. The size is for the caller to bound.
func (o *object) content() ([]byte, error) {
	data := make([]byte, o.size+1)
	if _, err := io.ReadFull(o.rest, data); err != nil || data[o.size] != '\n' {
		return nil, fmt.Errorf("%w: the %s %s is cut off", errDamaged, o.kind, o.name)
	}
	return data[:o.size:o.size], nil
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
func cutTime(value string) (person string, at time.Time, ok bool) {
	end := strings.LastIndexByte(value, '>') + 1
	fields := strings.Fields(value[end:])
	person = strings.TrimSpace(value[:end])
	if end == 0 || len(fields) != 2 {
		return person, at, false
	}
	seconds, err := strconv.ParseInt(fields[0], 10, 64)
	zone, zoneErr := strconv.Atoi(fields[1])
	offset := zone/100*60 + zone%100
	if err != nil || zoneErr != nil || seconds < 0 || seconds > 1<<40 || offset < -maxOffset || offset > maxOffset {
		return person, at, false
	}
	return person, time.Unix(seconds, 0).In(time.FixedZone("", offset*60)), true
}
