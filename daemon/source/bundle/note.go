package bundle

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/statesync/statesync/daemon/internal/plain"
	"github.com/statesync/statesync/daemon/source"
)

const (
	// NoteName is the usual name of a note.
	NoteName = "bundle.note"
	// MaxNote is the greatest size of a signed note in bytes.
	MaxNote = 64 << 10
	// MaxOrigin is the length of the longest origin in bytes.
	MaxOrigin = 128

	header     = "statesync bundle 1"
	timeLayout = "2006-01-02T15:04:05Z"
)

// Note is what the signers of a bundle sign.
type Note struct {
	Origin    string        // what it is a bundle of: "example.com/prod"
	Sequence  uint64        // 1, 2, 3 …: a higher one replaces a lower one
	NotBefore time.Time     // in whole seconds
	Expires   time.Time     // later than NotBefore, in whole seconds
	Archive   source.Digest // of the archive's bytes
	Size      int64         // of the archive in bytes
}

// Text is what is signed.
func (n *Note) Text() string {
	return fmt.Sprintf("%s\norigin %s\nsequence %d\nnot-before %s\nexpires %s\nsha256 %s\nsize %d\n", header,
		n.Origin, n.Sequence, n.NotBefore.UTC().Format(timeLayout), n.Expires.UTC().Format(timeLayout), n.Archive, n.Size)
}

// ArchiveName is the name of the archive's file, in the place of the note.
func (n *Note) ArchiveName() string { return n.Archive.String() + ".tar.gz" }

// SetArchive makes the note one of an archive.
func (n *Note) SetArchive(archive []byte) {
	n.Archive, n.Size = sha256.Sum256(archive), int64(len(archive))
}

// CheckArchive holds an archive against what the note says of it.
func (n *Note) CheckArchive(archive []byte) error {
	if int64(len(archive)) != n.Size {
		return fmt.Errorf("the archive %s has %d bytes, and should have %d", n.ArchiveName(), len(archive), n.Size)
	}
	if sum := source.Digest(sha256.Sum256(archive)); sum != n.Archive {
		return fmt.Errorf("the archive %s has the SHA-256 %s", n.ArchiveName(), sum)
	}
	return nil
}

// Check returns what no note can have. The error is the end of a sentence.
func (n *Note) Check() error {
	switch {
	case CheckOrigin(n.Origin) != nil:
		return CheckOrigin(n.Origin)
	case n.Sequence == 0:
		return errors.New("has the sequence 0; the first is 1")
	case !n.Expires.After(n.NotBefore):
		return errors.New("expires before it becomes valid")
	case n.Expires.UTC().Year() > 9999 || n.NotBefore.UTC().Year() < 1:
		return errors.New("has a time in a year that four digits do not hold")
	case n.Size <= 0:
		return fmt.Errorf("has an archive of %d bytes", n.Size)
	}
	return nil
}

// CheckOrigin returns what is wrong with an origin, as the end of a sentence.
func CheckOrigin(origin string) error {
	if !isWord(origin, MaxOrigin) {
		return fmt.Errorf("has the origin %s; an origin is 1 to %d printable characters of ASCII without spaces, such as example.com/prod",
			plain.Quote(origin), MaxOrigin)
	}
	return nil
}

// isWord reports whether a text is of printable ASCII without spaces.
func isWord(text string, most int) bool {
	return text != "" && len(text) <= most && !strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' })
}

// ParseNote reads what Text writes, and nothing else: each note has one text. The error is
// the end of a sentence that begins with the note.
func ParseNote(text string) (n Note, err error) {
	lines := strings.Split(text, "\n")
	if lines[0] != header {
		return n, fmt.Errorf("begins with %s and not with %q", plain.Quote(lines[0]), header)
	}
	fields := []struct {
		key  string
		read func(value string) error
	}{
		{"origin", func(v string) error { n.Origin = v; return nil }},
		{"sequence", func(v string) (err error) { n.Sequence, err = strconv.ParseUint(v, 10, 64); return err }},
		{"not-before", func(v string) (err error) { n.NotBefore, err = time.Parse(timeLayout, v); return err }},
		{"expires", func(v string) (err error) { n.Expires, err = time.Parse(timeLayout, v); return err }},
		{"sha256", func(v string) error { return n.Archive.UnmarshalText([]byte(v)) }},
		{"size", func(v string) (err error) { n.Size, err = strconv.ParseInt(v, 10, 64); return err }},
	}
	if len(lines) != len(fields)+2 {
		return n, fmt.Errorf("has %d lines, and should have %d", len(lines)-1, len(fields)+1)
	}
	for i, f := range fields {
		key, value, _ := strings.Cut(lines[i+1], " ")
		if key != f.key {
			return n, fmt.Errorf("has %s in line %d, and not %s", plain.Quote(key), i+2, f.key)
		}
		if err := f.read(value); err != nil {
			return n, fmt.Errorf("has %s %s, which cannot be read", f.key, plain.Quote(value))
		}
	}
	if err := n.Check(); err != nil {
		return n, err
	}
	if n.Text() != text {
		return n, errors.New("is not spelled in the one way that counts")
	}
	return n, nil
}

// Signed is a note with the names of those that signed it.
type Signed struct {
	Note
	Signers []string // distinct names, in the order of their signatures
}

// Open verifies a signed note: that signers with as many distinct names as threshold says
// signed it, and that its text is canonical. The error is the end of a sentence that begins
// with the note.
func (k *Keys) Open(msg []byte, threshold int) (*Signed, error) {
	if len(msg) > MaxNote {
		return nil, fmt.Errorf("is larger than %d bytes", MaxNote)
	}
	opened, err := note.Open(msg, k.verifiers)
	var invalid *note.InvalidSignatureError
	var unverified *note.UnverifiedNoteError
	switch {
	case errors.As(err, &unverified):
		return nil, fmt.Errorf("is signed by none of the known keys, but by %s", plain.Quote(strings.Join(signers(unverified.Note.UnverifiedSigs), ", ")))
	case errors.As(err, &invalid):
		return nil, fmt.Errorf("has a signature of %s that is not valid: the text or the signature was changed", invalid.Name)
	case err != nil:
		return nil, errors.New("is not a signed note")
	}
	s := &Signed{Signers: signers(opened.Sigs)}
	if len(s.Signers) < threshold {
		return nil, fmt.Errorf("is signed by %s, and threshold=%d needs as many signers of different names", strings.Join(s.Signers, ", "), threshold)
	}
	s.Note, err = ParseNote(opened.Text)
	return s, err
}

// signers are the distinct names of signatures.
func signers(list []note.Signature) (names []string) {
	seen := map[string]bool{}
	for _, s := range list {
		if !seen[s.Name] {
			seen[s.Name] = true
			names = append(names, s.Name)
		}
	}
	return names
}

// Inspect reads a signed note without verifying anything. The signers are as the note says.
func Inspect(msg []byte) (*Signed, error) {
	opened, err := unverified(msg)
	if err != nil {
		return nil, err
	}
	s := &Signed{Signers: signers(opened.UnverifiedSigs)}
	s.Note, err = ParseNote(opened.Text)
	return s, err
}

// unverified parses a signed note.
func unverified(msg []byte) (*note.Note, error) {
	_, err := note.Open(msg, nil)
	var whole *note.UnverifiedNoteError
	if len(msg) > MaxNote || !errors.As(err, &whole) {
		return nil, errors.New("is not a signed note")
	}
	return whole.Note, nil
}

// Sign returns a signed note.
func Sign(n *Note, by ...note.Signer) ([]byte, error) {
	if err := n.Check(); err != nil {
		return nil, fmt.Errorf("the note %w", err)
	}
	return note.Sign(&note.Note{Text: n.Text()}, by...)
}

// Cosign adds signatures to a signed note. One by the same key is replaced.
func Cosign(msg []byte, by ...note.Signer) ([]byte, error) {
	opened, err := unverified(msg)
	if err != nil {
		return nil, fmt.Errorf("the note %w", err)
	}
	if _, err := ParseNote(opened.Text); err != nil {
		return nil, fmt.Errorf("the note %w", err)
	}
	return note.Sign(opened, by...)
}
