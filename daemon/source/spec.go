package source

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/statesync/statesync/daemon/internal/plain"
	"github.com/statesync/statesync/daemon/suggest"
	"github.com/statesync/statesync/shm/image"
)

// Bounds of a spec.
const (
	MinInterval = 100 * time.Millisecond
	maxText     = 16 << 10 // bytes: the longest path, percent-encoded
	maxSpecName = 63       // bytes
)

// Spec is one source as --source names it: [NAME=]SPEC.
//
//   - NAME is of a to z, 0 to 9 and hyphens, and ends at the first "=". What stands there
//     is a name only if a scheme follows: dir:/a=b has none.
//   - SPEC is SCHEME:ADDRESS?OPTION=VALUE&OPTION=VALUE. Address and values are
//     percent-encoded: a "%" of their own is written %25, a "?" of an address %3F, and
//     a "&" of a value %26. Every other byte may stand as it is.
type Spec struct {
	Name    string // by default the scheme, then scheme-2, scheme-3 …
	Scheme  string
	Address string // decoded

	Prefix    string              // of all paths: "team/", or ""
	NoSchemas bool                // its schema files are ignored
	Interval  time.Duration       // between two looks; 0: the daemon's
	Options   map[string]string   // the scheme's own that were given, decoded
	Repeated  map[string][]string // those of them that may be given more than once

	Text string // as it was given
}

// OptionDoc is one option of a source, for the parser, the help and the documents.
type OptionDoc struct {
	Name, What string
	Repeat     bool // it may be given more than once
}

// CommonOptions are the options that every scheme has.
var CommonOptions = []OptionDoc{
	{Name: "prefix", What: "a folder, such as team/, that all of the source is below"},
	{Name: "schemas", What: "off ignores the source's schemas; the default is on"},
	{Name: "interval", What: "how often it is looked at without a hint (default --resync, or that of its kind)"},
}

// Scheme is one kind of source.
type Scheme struct {
	Name    string      // "dir"
	Address string      // what an address is, for help: "PATH"
	Options []OptionDoc // besides CommonOptions
	// Check returns what is wrong with a spec's address or the scheme's own options,
	// and what to do, as the end of a sentence that begins with the source: "names
	// no directory; write dir:PATH". It touches nothing.
	Check func(Spec) error
	// Identity names what a spec is of, whatever else it says: two specs of one identity
	// have the same history. nil: the scheme and the address.
	Identity func(Spec) string
	// Interval, when set, marks the scheme as one that polls a server that many hosts
	// share, and returns the time between two looks of a spec without interval=.
	Interval func(Spec) time.Duration
	// Floor, when set, says what the Floor of a spec's source keeps: NoFloor if the source
	// does not use it.
	Floor func(Spec) FloorKind
	// Open opens a spec that passed Check. What it names need not be there yet: that is
	// an error of Fetch.
	Open func(Spec, Options) (Source, error)
}

// FloorKind is what a source keeps as its Floor.
type FloorKind int

// The kinds of floors.
const (
	NoFloor     FloorKind = iota
	CommitFloor           // a commit, which an operator may set
	BundleFloor           // a text that package bundle writes
)

// Schemes are the kinds of sources that a program knows.
type Schemes []Scheme

// Open opens the source of a spec that Parse returned.
func (s Schemes) Open(spec Spec, o Options) (Source, error) {
	scheme := s.find(spec.Scheme)
	if scheme == nil {
		return nil, fmt.Errorf("source %s %w", quote(spec.Text), s.unknown(spec.Scheme))
	}
	return scheme.Open(spec, o)
}

// Identity names what a spec that Parse returned is of: see Scheme.
func (s Schemes) Identity(spec Spec) string {
	if scheme := s.find(spec.Scheme); scheme != nil && scheme.Identity != nil {
		return scheme.Identity(spec)
	}
	return spec.Scheme + ":" + spec.Address
}

// Floor says what the Floor of a spec's source keeps: see Scheme.
func (s Schemes) Floor(spec Spec) FloorKind {
	if scheme := s.find(spec.Scheme); scheme != nil && scheme.Floor != nil {
		return scheme.Floor(spec)
	}
	return NoFloor
}

// Polls returns how often the source of a spec is polled, and false if it is not one that
// is polled.
func (s Schemes) Polls(spec Spec) (time.Duration, bool) {
	scheme := s.find(spec.Scheme)
	switch {
	case scheme == nil || scheme.Interval == nil:
		return 0, false
	case spec.Interval > 0:
		return spec.Interval, true
	}
	return scheme.Interval(spec), true
}

// Parse reads all of --source, in order. A source without a name is called after its
// scheme, then scheme-2, scheme-3 and so on, the first that is free; two that were given
// one name are an error.
func (s Schemes) Parse(texts []string) ([]Spec, error) {
	specs := make([]Spec, len(texts))
	named := map[string]*Spec{}
	for i, text := range texts {
		spec, err := s.parse(text)
		if err != nil {
			return nil, fmt.Errorf("source %s %w", quote(text), err)
		}
		specs[i] = spec
		if spec.Name == "" {
			continue
		}
		if other := named[spec.Name]; other != nil {
			return nil, fmt.Errorf("sources %s and %s are both called %s; give each a name of its own, as in NAME=%s",
				quote(other.Text), quote(text), spec.Name, s.find(spec.Scheme).usage())
		}
		named[spec.Name] = &specs[i]
	}
	next := map[string]int{}
	for i := range specs {
		spec := &specs[i]
		for spec.Name == "" {
			name := spec.Scheme
			if next[spec.Scheme]++; next[spec.Scheme] > 1 {
				name = fmt.Sprintf("%s-%d", name, next[spec.Scheme])
			}
			if named[name] == nil {
				spec.Name, named[name] = name, spec
			}
		}
	}
	return specs, nil
}

// parse reads one source. Its name is empty where none was given. The error is the end
// of a sentence that begins with the source.
func (s Schemes) parse(text string) (Spec, error) {
	spec := Spec{Text: text}
	if len(text) > maxText {
		return spec, fmt.Errorf("is %d bytes long; at most %d are allowed", len(text), maxText)
	}
	rest := text
	if name, after, ok := strings.Cut(text, "="); ok && !strings.ContainsAny(name, ":/") {
		_, _, follows := cutScheme(after)
		switch {
		case follows && !isName(name):
			return spec, fmt.Errorf("has the name %s; a name is 1 to %d of a to z, 0 to 9 and hyphens", quote(name), maxSpecName)
		case follows:
			spec.Name, rest = name, after
		case isName(name):
			return spec, s.schemeless(name+"=", after)
		}
	}
	name, rest, ok := cutScheme(rest)
	if !ok {
		return spec, s.schemeless("", text)
	}
	scheme := s.find(name)
	if scheme == nil {
		return spec, s.unknown(name)
	}
	spec.Scheme = name
	address, query, asked := strings.Cut(rest, "?")
	var err error
	if spec.Address, err = decode(address); err != nil {
		return spec, err
	}
	if asked {
		if err := spec.setAll(scheme, query); err != nil {
			return spec, err
		}
	}
	if scheme.Check != nil {
		return spec, scheme.Check(spec)
	}
	return spec, nil
}

// cutScheme splits a text after the scheme that it begins with.
func cutScheme(text string) (scheme, rest string, ok bool) {
	scheme, rest, ok = strings.Cut(text, ":")
	return scheme, rest, ok && scheme != "" && !strings.ContainsAny(scheme, "/=?")
}

// isName reports whether a source may have the name.
func isName(name string) bool {
	return name != "" && len(name) <= maxSpecName && strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}

// schemeless is the error of a text without a scheme, which is most likely a path.
func (s Schemes) schemeless(name, path string) error {
	if dir := s.find("dir"); dir != nil && path != "" {
		return fmt.Errorf("has no scheme; for a directory write %s", clip(name+"dir:"+Escape(path)))
	}
	return fmt.Errorf("has no scheme; write %s", s.usages())
}

// unknown is the error of a scheme that is not one.
func (s Schemes) unknown(name string) error {
	return fmt.Errorf("has an unknown scheme %s; known: %s", quote(name), s.usages())
}

func (s Schemes) find(name string) *Scheme {
	for i := range s {
		if s[i].Name == name {
			return &s[i]
		}
	}
	return nil
}

func (s *Scheme) usage() string { return s.Name + ":" + s.Address }

func (s Schemes) usages() string {
	var all []string
	for i := range s {
		all = append(all, s[i].usage())
	}
	return strings.Join(all, ", ")
}

// setAll reads what follows the "?".
func (spec *Spec) setAll(scheme *Scheme, query string) error {
	known := slices.Concat(CommonOptions, scheme.Options)
	given := map[string]bool{}
	for part := range strings.SplitSeq(query, "&") {
		name, encoded, ok := strings.Cut(part, "=")
		i := slices.IndexFunc(known, func(o OptionDoc) bool { return o.Name == name })
		switch {
		case name == "":
			return errors.New("has an empty option; write OPTION=VALUE after the ?, and %3F for a ? of the address")
		case i < 0:
			return unknownOption(name, known)
		case !ok:
			return fmt.Errorf("has the option %s without a value; write %s=VALUE", name, name)
		case given[name] && !known[i].Repeat:
			return fmt.Errorf("has the option %s twice; give it once", name)
		}
		given[name] = true
		value, err := decode(encoded)
		switch {
		case err != nil:
			return err
		case known[i].Repeat:
			spec.repeat(name, value)
			continue
		}
		if err := spec.set(name, value); err != nil {
			return err
		}
	}
	return nil
}

// repeat adds a value to those of an option that may be given more than once.
func (spec *Spec) repeat(name, value string) {
	if spec.Repeated == nil {
		spec.Repeated = map[string][]string{}
	}
	spec.Repeated[name] = append(spec.Repeated[name], value)
}

// set sets one option that is known.
func (spec *Spec) set(name, value string) error {
	switch name {
	case "prefix":
		prefix := strings.TrimSuffix(value, "/") + "/"
		if image.CheckName(prefix+"x") != nil {
			return fmt.Errorf("has prefix=%s, which is not a folder such as team/: names that slashes separate, none of them empty, . or .., "+
				"at most %d bytes of UTF-8 without control characters", quote(value), image.MaxName-1)
		}
		spec.Prefix = prefix
	case "schemas":
		if value != "on" && value != "off" {
			return fmt.Errorf("has schemas=%s; give on or off", quote(value))
		}
		spec.NoSchemas = value == "off"
	case "interval":
		d, err := time.ParseDuration(value)
		if err != nil || d < MinInterval {
			return fmt.Errorf("has interval=%s; give a time of at least %v with its unit, such as 30s", quote(value), MinInterval)
		}
		spec.Interval = d
	default:
		if spec.Options == nil {
			spec.Options = map[string]string{}
		}
		spec.Options[name] = value
	}
	return nil
}

// unknownOption names the option that was probably meant.
func unknownOption(name string, known []OptionDoc) error {
	names := make([]string, len(known))
	for i, o := range known {
		names[i] = o.Name
	}
	return fmt.Errorf("has an unknown option %s%s; known: %s; a ? of the address itself is written %%3F",
		quote(name), suggest.DidYouMean(name, names), strings.Join(names, ", "))
}

// decode undoes the percent-encoding. No address or value has a NUL.
func decode(text string) (string, error) {
	decoded, err := url.PathUnescape(text)
	if err != nil {
		return "", fmt.Errorf("has a %% that begins no percent-encoding; write %%25 for a %% itself (%w)", err)
	}
	if strings.ContainsRune(decoded, 0) {
		return "", errors.New("has a zero byte, which no path or value can have; remove it")
	}
	return decoded, nil
}

// Escape returns an address as a spec has it.
func Escape(address string) string {
	return strings.NewReplacer("%", "%25", "?", "%3F").Replace(address)
}

// quote quotes what may be long.
func quote(text string) string {
	const most = 200
	if len(text) > most {
		return fmt.Sprintf("%.*q…", most, text)
	}
	return fmt.Sprintf("%q", text)
}

// clip shortens what may be long, for a proposal that is shown as it is to be written.
func clip(text string) string {
	const most = 300
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "…"
	}
	return plain.Text(text)
}
