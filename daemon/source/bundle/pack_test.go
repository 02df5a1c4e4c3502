package bundle

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/statesync/statesync/daemon/source"
)

func TestPackAndUnpack(t *testing.T) {
	long := strings.Repeat("long/", 30) + strings.Repeat("n", 120) + ".yaml"
	in := files("a.yaml", "x: 1\n", "empty.json", "", long, "y", "team/ü.yaml", "z")
	archive, err := Pack(in)
	if err != nil {
		t.Fatal(err)
	}
	again, err := Pack(in)
	if err != nil || !bytes.Equal(archive, again) {
		t.Errorf("the same files have two archives: %v", err)
	}
	asked := int64(0)
	out, err := Unpack(archive, source.Options{
		Wanted: func(path string) bool { return path != long },
		Room:   func(n int64) error { asked += n; return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	version := func(source.Digest) string { return "" }
	if len(out) != len(in) || out[2].Data != nil || out[1].Data == nil || asked != 1<<20 {
		t.Errorf("%d files; room for %d bytes was asked for", len(out), asked)
	}
	all, err := Unpack(archive, source.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if a, b := source.NewSnapshot(in, nil, version), source.NewSnapshot(all, nil, version); a.Digest != b.Digest {
		t.Errorf("the digest is %s, want %s", b.Digest, a.Digest)
	}
}

// member is an entry of an archive that Pack does not make.
type member struct {
	kind byte
	name string
	data string
}

func tarred(t testing.TB, members ...member) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for _, m := range members {
		h := &tar.Header{Typeflag: m.kind, Name: m.name, Mode: 0o644, Size: int64(len(m.data))}
		if m.kind == tar.TypeSymlink || m.kind == tar.TypeLink {
			h.Linkname, h.Size, m.data = m.data, 0, ""
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, m.data); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func file(name, data string) member { return member{tar.TypeReg, name, data} }
func dirOf(name string) member      { return member{tar.TypeDir, name, ""} }

func TestUnpackRefuses(t *testing.T) {
	fine := tarred(t, dirOf("d/"), file("d/a", "1"), dirOf("e/f/"), dirOf("e/"), file("e/b", ""))
	if list, err := Unpack(fine, source.Options{}); err != nil || len(list) != 2 {
		t.Fatalf("%d files, %v", len(list), err)
	}
	many := make([]member, 11)
	for i := range many {
		many[i] = file(strings.Repeat("x", i+1), "1")
	}
	small := source.Options{MaxFile: 1 << 10, MaxTotal: 2 << 10, MaxFiles: 10}
	kib := strings.Repeat("x", 1<<10)
	for name, test := range map[string]struct {
		archive []byte
		want    string
	}{
		"symlink":                 {tarred(t, file("b", "1"), member{tar.TypeSymlink, "a", "b"}), "a: is neither a file nor a directory"},
		"hard link":               {tarred(t, file("b", "1"), member{tar.TypeLink, "a", "b"}), "a: is neither"},
		"device":                  {tarred(t, member{tar.TypeChar, "a", ""}), "a: is neither"},
		"fifo":                    {tarred(t, member{tar.TypeFifo, "a", ""}), "a: is neither"},
		"absolute":                {tarred(t, file("/a", "1")), "/a: is not the path"},
		"parent":                  {tarred(t, file("d/../a", "1")), "is not the path"},
		"parent at the front":     {tarred(t, file("../a", "1")), "is not the path"},
		"dot":                     {tarred(t, file("./a", "1")), "is not the path"},
		"empty name":              {tarred(t, dirOf("/")), "is not the path"},
		"empty part":              {tarred(t, file("d//a", "1")), "is not the path"},
		"control character":       {tarred(t, file("a\nb", "1")), "is not the path"},
		"not UTF-8":               {tarred(t, file("a\xff", "1")), "is not the path"},
		"deep":                    {tarred(t, file(strings.Repeat("d/", 65)+"a", "1")), "directories deep"},
		"twice":                   {tarred(t, file("a", "1"), file("a", "2")), "a: is in the archive twice"},
		"directory twice":         {tarred(t, dirOf("d/"), dirOf("d/"), file("d/a", "1")), "d: is in the archive twice"},
		"file and directory":      {tarred(t, file("d", "1"), dirOf("d/")), "d: is in the archive twice"},
		"file above":              {tarred(t, file("d", "1"), file("d/a", "1")), "d/a: is in the archive twice"},
		"file where files are":    {tarred(t, file("d/a", "1"), file("d", "1")), "d: is in the archive twice"},
		"ignored twice":           {tarred(t, file(".x", "1"), file(".x", "1")), ".x: is in the archive twice"},
		"large file":              {tarred(t, file("a", kib+"x")), "a: has 1025 bytes"},
		"large together":          {tarred(t, file("a", kib), file("b", kib), file("c", "x")), "more than 2048 bytes together"},
		"many":                    {tarred(t, many...), "more than 10 files"},
		"many directories above":  {tarred(t, file(strings.Repeat("d/", 10)+"a", "1")), "more than 10 files"},
		"large, but not wanted":   {tarred(t, file("a", "1"), file("not wanted", strings.Repeat("x", 1<<20))), "more than the limits allow"},
		"nothing":                 {tarred(t, dirOf("d/"), file(".hidden", "1")), "holds no config files"},
		"no gzip":                 {[]byte("PK\x03\x04"), "not a gzip file"},
		"no tar":                  {zipped(t, []byte(strings.Repeat("x", 1000))), "cannot be read"},
		"truncated":               {fine[:len(fine)-20], "cannot be read"},
		"empty archive":           {zipped(t, nil), "holds no config files"},
		"more wrong than is told": {tarred(t, wrong(maxProblems+1)...), "may have more that is wrong"},
	} {
		t.Run(name, func(t *testing.T) {
			o := small
			o.Wanted = func(path string) bool { return path != "not wanted" }
			if strings.Contains(name, "than is told") {
				o.MaxFiles = 1000
			}
			list, err := Unpack(test.archive, o)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%d files, error %v, want %q", len(list), err, test.want)
			}
		})
	}
	if _, err := Unpack(tarred(t, dirOf("d/")), source.Options{AllowEmpty: true}); err != nil {
		t.Errorf("an empty one that is allowed: %v", err)
	}
	full := errors.New("no room")
	if _, err := Unpack(fine, source.Options{Room: func(int64) error { return full }}); !errors.Is(err, full) {
		t.Errorf("without room: %v", err)
	}
}

func wrong(n int) (list []member) {
	for range n {
		list = append(list, member{tar.TypeFifo, "a", ""})
	}
	return list
}

func zipped(t testing.TB, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// FuzzUnpack holds that what is unpacked keeps the limits, and is what Pack would pack.
func FuzzUnpack(f *testing.F) {
	add := func(members ...member) {
		archive := tarred(f, members...)
		z, err := gzip.NewReader(bytes.NewReader(archive))
		if err != nil {
			f.Fatal(err)
		}
		plain, err := io.ReadAll(z)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(plain)
	}
	add(file("a.yaml", "x: 1\n"), dirOf("d/"), file("d/b", ""))
	add(member{tar.TypeSymlink, "a", "b"}, file("../x", "1"))
	add(file("a", "1"), file("a", "2"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, plain []byte) { // gzip would hide its changes
		o := source.Options{MaxFile: 1 << 10, MaxTotal: 4 << 10, MaxFiles: 20}
		list, err := unpack(bytes.NewReader(plain), o)
		if err != nil {
			return
		}
		total, seen := 0, map[string]bool{}
		for _, f := range list {
			total += len(f.Data)
			if !source.IsPath(f.Path, maxPath) || seen[f.Path] || f.Data == nil || len(f.Data) > 1<<10 {
				t.Errorf("it has the file %q of %d bytes", f.Path, len(f.Data))
			}
			seen[f.Path] = true
		}
		if total > 4<<10 || len(list) > 20 || len(list) == 0 {
			t.Errorf("%d files of %d bytes", len(list), total)
		}
		archive, err := Pack(list)
		if err != nil {
			t.Fatal(err)
		}
		again, err := Unpack(archive, o)
		version := func(source.Digest) string { return "" }
		if err != nil || source.NewSnapshot(again, nil, version).Digest != source.NewSnapshot(list, nil, version).Digest {
			t.Errorf("packed again: %v", err)
		}
	})
}
