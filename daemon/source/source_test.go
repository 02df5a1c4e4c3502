package source

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestFileErrorNamesTheWholePath(t *testing.T) {
	err := &FileError{Root: "/etc/app", Path: "team/\xff.yaml", Err: ErrUnstable}
	if got, want := err.Error(), `"/etc/app/team/\xff.yaml": is still being changed`; got != want {
		t.Errorf("the error is %s, want %s", got, want)
	}
	if !errors.Is(err, ErrUnstable) {
		t.Error("a FileError hides its cause")
	}
}

func snapshot(have *Snapshot, version string, pairs ...string) *Snapshot {
	var files []*File
	for pair := range slices.Chunk(pairs, 2) {
		files = append(files, NewFile(pair[0], []byte(pair[1])))
	}
	return NewSnapshot(files, have, func(sum Digest) string {
		if version == "" {
			return sum.String()
		}
		return version
	})
}

// A digest of today is found again by the next build: it is in images and in logs.
func TestDigestStaysTheSame(t *testing.T) {
	for _, test := range []struct {
		snapshot *Snapshot
		want     string
	}{
		{snapshot(nil, ""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
		{snapshot(nil, "", "b", "2", "a", "1"), "677717f1a448c679e1e6e7b5b47314db5f4cf1e32674f1188ca9185ce2396d62"},
		{NewSnapshot([]*File{{Path: "README"}}, nil, Digest.String), "b192ceab175e4f76140ce988515e52213b045290065f2460bae1ad444006a110"},
	} {
		if s := test.snapshot; s.Digest.String() != test.want || s.Version != test.want {
			t.Errorf("the digest of %d files is %v, the version %s, want %s", len(s.Files), s.Digest, s.Version, test.want)
		}
	}
}

// A digest is read back from its text, and from no other.
func TestDigestAsText(t *testing.T) {
	d := NewFile("a", []byte("1")).Sum
	text, err := d.MarshalText()
	var again Digest
	if err := errors.Join(err, again.UnmarshalText(text)); err != nil || again != d || string(text) != d.String() {
		t.Errorf("%v is %s and then %v, %v", d, text, again, err)
	}
	for _, wrong := range []string{"", "00", string(text[1:]), string(text) + "00", strings.Repeat("x", len(text))} {
		if err := again.UnmarshalText([]byte(wrong)); err == nil {
			t.Errorf("%q is taken for a digest", wrong)
		}
	}
}

func TestSnapshotKeepsWhatIsUnchanged(t *testing.T) {
	have := snapshot(nil, "1", "b", "2", "a", "1", "d", "4")
	if again := snapshot(have, "1", "d", "4", "a", "1", "b", "2"); again != have {
		t.Error("the same files of the same version are another snapshot")
	}
	next := snapshot(have, "2", "a", "1", "b", "2", "d", "4")
	if next == have || next.Digest != have.Digest || !slices.Equal(next.Files, have.Files) {
		t.Errorf("the same files of another version: %v, want another snapshot with the files of %v", next, have)
	}
	next = snapshot(have, "1", "a", "1", "b", "two", "c", "3", "d", "4")
	if next.Files[0] != have.Files[0] || next.Files[1] == have.Files[1] || next.Files[3] != have.Files[2] {
		t.Errorf("from %v to %v", have.Files, next.Files)
	}
	if other := snapshot(have, "1", "a", "1", "b", "2", "e", "4"); other.Digest == have.Digest {
		t.Error("another path has the same digest")
	}
}
