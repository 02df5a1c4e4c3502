package source

import (
	"errors"
	"maps"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/statesync/statesync/shm/image"
)

// schemes are a table like the daemon's.
var schemes = Schemes{
	{Name: "dir", Address: "PATH", Check: func(s Spec) error {
		if s.Address == "" {
			return errors.New("names no directory; write dir:PATH")
		}
		return nil
	}},
	{Name: "web", Address: "URL", Options: []OptionDoc{{Name: "ref", What: "what to follow"}, {Name: "path", What: "where"}, {Name: "mirror", What: "where else", Repeat: true}}},
}

func TestSpec(t *testing.T) {
	for text, want := range map[string]Spec{
		"dir:/etc/app":       {Name: "dir", Scheme: "dir", Address: "/etc/app"},
		"dir:./x":            {Name: "dir", Scheme: "dir", Address: "./x"},
		"dir:a:b":            {Name: "dir", Scheme: "dir", Address: "a:b"},
		"dir:/a=b":           {Name: "dir", Scheme: "dir", Address: "/a=b"},
		"dir:a=dir:b":        {Name: "dir", Scheme: "dir", Address: "a=dir:b"},
		"dir:/a+b&c#d e":     {Name: "dir", Scheme: "dir", Address: "/a+b&c#d e"},
		"dir:/100%25%3f%FF":  {Name: "dir", Scheme: "dir", Address: "/100%?\xff"},
		"base=dir:/a":        {Name: "base", Scheme: "dir", Address: "/a"},
		"0-x=dir:/a=b":       {Name: "0-x", Scheme: "dir", Address: "/a=b"},
		"dir:/a?prefix=t":    {Name: "dir", Scheme: "dir", Address: "/a", Prefix: "t/"},
		"dir:/a?prefix=t%2F": {Name: "dir", Scheme: "dir", Address: "/a", Prefix: "t/"},
		"x=dir:/a?prefix=ü/b.c/&schemas=off&interval=1m30s": {
			Name: "x", Scheme: "dir", Address: "/a", Prefix: "ü/b.c/", NoSchemas: true, Interval: 90 * time.Second,
		},
		"dir:/a?schemas=on&interval=100ms": {Name: "dir", Scheme: "dir", Address: "/a", Interval: MinInterval},
		"web:https://h/x?path=a%26b=c?+&ref=v1": {
			Name: "web", Scheme: "web", Address: "https://h/x", Options: map[string]string{"path": "a&b=c?+", "ref": "v1"},
		},
		"web:https://h/x?mirror=https://i/%26&mirror=https://j/": {
			Name: "web", Scheme: "web", Address: "https://h/x", Repeated: map[string][]string{"mirror": {"https://i/&", "https://j/"}},
		},
	} {
		want.Text = text
		specs, err := schemes.Parse([]string{text})
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		got := specs[0]
		same := maps.Equal(got.Options, want.Options) && slices.Equal(got.Repeated["mirror"], want.Repeated["mirror"])
		got.Options, want.Options, got.Repeated, want.Repeated = nil, nil, nil, nil
		if !same || !equal(got, want) {
			t.Errorf("%s is %+v, want %+v", text, specs[0], want)
		}
	}
}

func equal(a, b Spec) bool {
	return a.Name == b.Name && a.Scheme == b.Scheme && a.Address == b.Address && a.Prefix == b.Prefix &&
		a.NoSchemas == b.NoSchemas && a.Interval == b.Interval && a.Text == b.Text
}

func TestSpecErrors(t *testing.T) {
	for text, want := range map[string]string{
		"":                                    `source "" has no scheme; write dir:PATH, web:URL`,
		"x=":                                  "has no scheme; write dir:PATH",
		"/etc/app":                            "has no scheme; for a directory write dir:/etc/app",
		"./a:b":                               "for a directory write dir:./a:b",
		"/50%?":                               "for a directory write dir:/50%25%3F",
		"base=/etc/app":                       "for a directory write base=dir:/etc/app",
		"a b=/c":                              "for a directory write dir:a b=/c",
		"git:https://host/repo":               `has an unknown scheme "git"; known: dir:PATH, web:URL`,
		"DIR:/a":                              `unknown scheme "DIR"`,
		"a=b:c":                               `unknown scheme "b"`,
		"Base=dir:/a":                         `has the name "Base"; a name is 1 to 63 of`,
		"=dir:/a":                             `has the name ""`,
		strings.Repeat("n", 64) + "=dir:/a":   "a name is 1 to 63 of",
		"dir:":                                "names no directory; write dir:PATH",
		"dir:?prefix=a":                       "names no directory",
		"dir:/100%":                           "write %25 for a % itself",
		"dir:/a%zz":                           "write %25 for a % itself",
		"dir:/a%00b":                          "has a zero byte",
		"dir:/a\x00b":                         "has a zero byte",
		"dir:/a?":                             "%3F for a ? of the address",
		"dir:/a?prefix=b&":                    "has an empty option",
		"dir:/a?=b":                           "has an empty option",
		"dir:/a?b":                            `has an unknown option "b"; known: prefix, schemas, interval; a ? of the address itself is written %3F`,
		"dir:/a?prefx=b":                      "did you mean prefix?",
		"dir:/a?Interval=1s":                  "did you mean interval?",
		"web:/a?re=b":                         "known: prefix, schemas, interval, ref, path",
		"dir:/a?ref=b":                        `unknown option "ref"`,
		"dir:/a?prefix":                       "has the option prefix without a value; write prefix=VALUE",
		"dir:/a?prefix=a&prefix=a":            "has the option prefix twice",
		"dir:/a?prefix=":                      "which is not a folder",
		"dir:/a?prefix=/":                     "which is not a folder",
		"dir:/a?prefix=/a":                    "which is not a folder",
		"dir:/a?prefix=a//":                   "which is not a folder",
		"dir:/a?prefix=a/../b":                "which is not a folder",
		"dir:/a?prefix=.":                     "which is not a folder",
		"dir:/a?prefix=%ff":                   "which is not a folder",
		"dir:/a?prefix=a%0a":                  "which is not a folder",
		"dir:/a?prefix=%2":                    "write %25",
		"dir:/a?schemas=no":                   `has schemas="no"; give on or off`,
		"dir:/a?interval=99ms":                "give a time of at least 100ms with its unit, such as 30s",
		"dir:/a?interval=5":                   "such as 30s",
		"dir:/a?interval=-1s":                 "such as 30s",
		"dir:" + strings.Repeat("a", maxText): "bytes long; at most",
	} {
		specs, err := schemes.Parse([]string{"ok=dir:/ok", text})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.80q is %v, %v; want an error with %q", text, specs, err, want)
		}
	}
}

func TestSpecNames(t *testing.T) {
	for _, test := range []struct {
		texts []string
		want  []string
	}{
		{nil, nil},
		{[]string{"dir:/a", "web:x", "dir:/b", "web:y", "dir:/c"}, []string{"dir", "web", "dir-2", "web-2", "dir-3"}},
		{[]string{"dir:/a", "dir=dir:/b", "dir-3=web:x", "dir:/c"}, []string{"dir-2", "dir", "dir-3", "dir-4"}},
		{[]string{"base=dir:/a", "dir:/a"}, []string{"base", "dir"}},
	} {
		specs, err := schemes.Parse(test.texts)
		var names []string
		for _, s := range specs {
			names = append(names, s.Name)
		}
		if err != nil || !slices.Equal(names, test.want) {
			t.Errorf("%q have the names %q, %v; want %q", test.texts, names, err, test.want)
		}
	}
	_, err := schemes.Parse([]string{"a=dir:/x", "dir:/y", "a=web:z"})
	if want := `sources "a=dir:/x" and "a=web:z" are both called a; give each a name of its own, as in NAME=web:URL`; err == nil || err.Error() != want {
		t.Errorf("two of one name: %v, want %s", err, want)
	}
}

func TestOpenGoesByTheScheme(t *testing.T) {
	opened := errors.New("opened")
	table := Schemes{{Name: "web", Open: func(s Spec, o Options) (Source, error) {
		if s.Address != "x" || o.MaxFiles != 7 {
			t.Errorf("opened with %+v, %+v", s, o)
		}
		return nil, opened
	}}}
	if _, err := table.Open(Spec{Scheme: "web", Address: "x"}, Options{MaxFiles: 7}); !errors.Is(err, opened) {
		t.Error(err)
	}
	if _, err := table.Open(Spec{Scheme: "dir"}, Options{}); err == nil || !strings.Contains(err.Error(), "unknown scheme") {
		t.Error(err)
	}
}

// FuzzSpec holds a parsed source to what Spec says of it, and an error to a length.
func FuzzSpec(f *testing.F) {
	for _, seed := range []string{
		"dir:/a", "x=dir:/a?prefix=t/&schemas=off&interval=1s", "web:h?ref=a%26b&path=%3f", "dir:/a=b", "=dir:", "A=dir:x", "/a:b", "dir:%",
		"dir:/a?prefix=a&prefix=b", "dir:/a?prefx=1",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		specs, err := schemes.Parse([]string{text, "dir=dir:/first", text + "x"})
		if err != nil {
			if len(err.Error()) > 4096 {
				t.Errorf("an error of %d bytes", len(err.Error()))
			}
			specs, err = schemes.Parse([]string{text})
			if err != nil {
				return
			}
		}
		names := map[string]bool{}
		for _, s := range specs {
			if !isName(s.Name) || names[s.Name] {
				t.Errorf("%q has the name %q", s.Text, s.Name)
			}
			names[s.Name] = true
			if s.Prefix != "" && (!strings.HasSuffix(s.Prefix, "/") || image.CheckName(s.Prefix+"x") != nil) {
				t.Errorf("%q has the prefix %q", s.Text, s.Prefix)
			}
			if s.Interval != 0 && s.Interval < MinInterval || schemes.find(s.Scheme) == nil || strings.ContainsRune(s.Address, 0) {
				t.Errorf("%q is %+v", s.Text, s)
			}
			for name := range s.Options {
				if name != "ref" && name != "path" {
					t.Errorf("%q has the option %q", s.Text, name)
				}
			}
		}
		// What a spec says, written anew, says the same.
		s := specs[0]
		again := s.Name + "=" + s.Scheme + ":" + Escape(s.Address)
		var options []string
		if s.Prefix != "" {
			options = append(options, "prefix="+url.PathEscape(s.Prefix))
		}
		if s.NoSchemas {
			options = append(options, "schemas=off")
		}
		if s.Interval != 0 {
			options = append(options, "interval="+s.Interval.String())
		}
		for name, value := range s.Options {
			options = append(options, name+"="+strings.ReplaceAll(url.PathEscape(value), "&", "%26"))
		}
		if options != nil {
			again += "?" + strings.Join(options, "&")
		}
		if len(again) > maxText {
			return
		}
		twice, err := schemes.Parse([]string{again})
		if err != nil {
			t.Fatalf("%q is %+v; %q is refused: %v", text, s, again, err)
		}
		if s.Text = again; !equal(twice[0], s) || !maps.Equal(twice[0].Options, s.Options) {
			t.Errorf("%q is %+v, and %q is %+v", text, s, again, twice[0])
		}
	})
}
