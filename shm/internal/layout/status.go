package layout

import (
	"encoding/binary"
	"math"
	"strings"
	"time"

	"github.com/statesync/statesync/seqlock"
)

// A writer beats once in HeartbeatInterval; one that has not for StaleAfter is
// dead, stopped or stuck.
const (
	HeartbeatInterval = time.Second
	StaleAfter        = 5 * time.Second
)

// State is what a writer says of itself.
type State uint64

// The states of a writer.
const (
	Unknown State = iota
	Running
	Stopped // it ended in good order
)

func (s State) String() string {
	switch s {
	case Running:
		return "running"
	case Stopped:
		return "stopped"
	}
	return "unknown"
}

// Status is what the writer tells the region's readers about itself. It is
// information: no read depends on it.
type Status struct {
	State       State
	PID         int       // as the writer's own namespace counts
	Incarnation uint64    // another one after each start
	Started     time.Time // when the writer attached
	// Heartbeat is when the writer was last alive, on the clock of Boottime; 0 is
	// never.
	Heartbeat time.Duration
	Observation
}

// Observation is what a status says of the sources and of what came of them.
type Observation struct {
	// SourceGood is when the sources last had a valid revision, on the clock of
	// Boottime; 0 is never.
	SourceGood time.Duration
	// Observed is the newest revision that was seen to have the content of the
	// current generation, cut to 1,024 bytes.
	Observed string
	// Problem is why a newer revision is not published, cut to 2,560 bytes; empty
	// when all is well.
	Problem string

	// Fresh, Converged and Held are three different things: each source was looked
	// at in time; what they come to is what is live; an operator holds it back on
	// purpose.
	Fresh, Converged, Held bool
	// Layers are the sources, the lowest first: at most 16.
	Layers []Layer

	// Findings are what Problem sums up, as many as there is room for; Found is how
	// many there are.
	Findings []Finding
	Found    int
}

// Finding is one reason why a newer revision is not published.
type Finding struct {
	Reason  string // a word, cut to 32 bytes
	Layer   string // whose source it is about, cut to 64 bytes; empty where there is one, or none
	File    string // cut to 512 bytes; empty where it is about none
	Line    int    // from 1; 0: the whole file
	Column  int    // from 1; 0: not known
	Key     string // dotted, cut to 256 bytes
	Message string // what is wrong, and what to do, cut to 768 bytes
}

// Layer is what a status says of one source.
type Layer struct {
	Name    string        // cut to 64 bytes
	Version string        // of what is used of it, cut to 256 bytes; empty: nothing yet
	Problem string        // why the newest is not used, cut to 768 bytes; empty when it is
	Good    time.Duration // when the newest was last found to be used, on the clock of Boottime; 0 is never
}

// Alive reports whether the writer's heart has beaten lately. On a machine that
// was suspended it may be false for a moment.
func (s Status) Alive() bool {
	age := Boottime() - s.Heartbeat
	return s.State == Running && age >= 0 && age < StaleAfter
}

// FieldsIn is how many words the fields take, by the head in w.
func FieldsIn(w *[StatusWords]uint64) uint64 {
	return min(w[StatusFields]/WordBytes, StatusWords-StatusHead)
}

// fieldWords is how many words a field of n bytes takes.
func fieldWords(n int) int { return 1 + (n+WordBytes-1)/WordBytes }

// DecodeStatus reads a copy of the status that is whole.
func DecodeStatus(w *[StatusWords]uint64) Status {
	s := Status{
		State:       State(w[StatusState]),
		PID:         int(w[StatusPID]),
		Incarnation: w[statusIncarnation],
		Started:     time.Unix(0, int64(w[statusStarted])),
		Heartbeat:   time.Duration(w[StatusHeartbeat]),
		Observation: Observation{SourceGood: time.Duration(w[StatusSourceGood])},
	}
	fields := w[StatusHead:][:FieldsIn(w)]
	for len(fields) > 0 {
		tag, length := uint32(fields[0]), fields[0]>>32
		if length > uint64(len(fields)-1)*WordBytes {
			break // no writer leaves this
		}
		text := seqlock.BytesOf(fields[1:])[:length]
		switch {
		case tag == FieldObserved && s.Observed == "":
			s.Observed = string(text[:min(length, MaxObserved)])
		case tag == FieldProblem && s.Problem == "":
			s.Problem = string(text[:min(length, MaxProblem)])
		case tag == FieldStanding && length >= WordBytes:
			bits := fields[1]
			s.Fresh, s.Converged, s.Held = bits&standingFresh != 0, bits&standingConverged != 0, bits&standingHeld != 0
			s.Found = int(uint32(bits >> standingFound))
		case tag == FieldFinding:
			if finding, ok := decodeFinding(text); ok {
				s.Findings = append(s.Findings, finding)
			}
		case tag == FieldLayer && len(s.Layers) < MaxLayers:
			if layer, ok := decodeLayer(text); ok {
				s.Layers = append(s.Layers, layer)
			}
		}
		fields = fields[fieldWords(int(length)):]
	}
	return s
}

// Encode writes the status into words, all of them but the sequence, and
// returns how many words it takes.
func (s *Status) Encode(w *[StatusWords]uint64) (n int) {
	w[StatusState] = uint64(s.State)
	w[StatusPID] = uint64(s.PID)
	w[statusIncarnation] = s.Incarnation
	w[StatusHeartbeat] = uint64(s.Heartbeat)
	w[StatusSourceGood] = uint64(s.SourceGood)
	w[statusStarted] = uint64(s.Started.UnixNano())
	n = StatusHead
	field := func(tag uint64, text string) {
		if text == "" {
			return
		}
		w[n] = tag | uint64(len(text))<<32
		copy(seqlock.BytesOf(w[n+1:]), text)
		n += fieldWords(len(text))
	}
	field(FieldObserved, cut(s.Observed, MaxObserved))
	field(FieldProblem, cut(s.Problem, MaxProblem))
	field(FieldStanding, string(binary.LittleEndian.AppendUint64(nil, s.standing())))
	for _, layer := range s.Layers[:min(len(s.Layers), MaxLayers)] {
		field(FieldLayer, layer.encode())
	}
	for i := range s.Findings {
		text := s.Findings[i].encode()
		if n+fieldWords(len(text)) > StatusWords {
			break
		}
		field(FieldFinding, text)
	}
	w[StatusFields] = uint64(n-StatusHead) * WordBytes
	return n
}

// cut shortens s to at most n bytes of valid UTF-8.
func cut(s string, n int) string {
	if len(s) > n {
		s = s[:n]
	}
	return strings.ToValidUTF8(s, "")
}

// The bits of the standing.
const (
	standingFresh = 1 << iota
	standingConverged
	standingHeld

	standingFound = 32 // how many findings there are, from this bit on
)

func (o *Observation) standing() (bits uint64) {
	for _, b := range []struct {
		is  bool
		bit uint64
	}{{o.Fresh, standingFresh}, {o.Converged, standingConverged}, {o.Held, standingHeld}} {
		if b.is {
			bits |= b.bit
		}
	}
	return bits | uint64(min(max(o.Found, 0), math.MaxUint32))<<standingFound
}

// layerHead is what precedes a layer's three texts: its Good, and the lengths of the
// first two as 32-bit words.
const layerHead = 16

// encode is a layer as the bytes of a field.
func (l *Layer) encode() string {
	name, version := cut(l.Name, MaxLayerName), cut(l.Version, MaxLayerVersion)
	b := binary.LittleEndian.AppendUint64(nil, uint64(l.Good))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(name)))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(version)))
	return string(b) + name + version + cut(l.Problem, MaxLayerProblem)
}

// decodeLayer reads a layer. It is not ok if no writer could have written it.
func decodeLayer(b []byte) (l Layer, ok bool) {
	if len(b) < layerHead {
		return l, false
	}
	l.Good = time.Duration(binary.LittleEndian.Uint64(b))
	name, version := binary.LittleEndian.Uint32(b[8:]), binary.LittleEndian.Uint32(b[12:])
	texts := b[layerHead:]
	if name > MaxLayerName || version > MaxLayerVersion || int(name+version) > len(texts) || len(texts) > int(name+version)+MaxLayerProblem {
		return l, false
	}
	l.Name, l.Version, l.Problem = string(texts[:name]), string(texts[name:][:version]), string(texts[name+version:])
	return l, true
}

// findingHead is what precedes a finding's texts: its line and column, and the lengths
// of all texts but the last, as 32-bit words.
const findingHead = 6 * 4

// texts are a finding's, with what each is cut to.
func (f *Finding) texts() [5]struct {
	text *string
	most int
} {
	return [5]struct {
		text *string
		most int
	}{{&f.Reason, 32}, {&f.Layer, MaxLayerName}, {&f.File, 512}, {&f.Key, 256}, {&f.Message, 768}}
}

// encode is a finding as the bytes of a field.
func (f *Finding) encode() string {
	b := binary.LittleEndian.AppendUint32(nil, uint32(f.Line))
	b = binary.LittleEndian.AppendUint32(b, uint32(f.Column))
	var all strings.Builder
	texts := f.texts()
	for i, t := range texts {
		text := cut(*t.text, t.most)
		all.WriteString(text)
		if i < len(texts)-1 {
			b = binary.LittleEndian.AppendUint32(b, uint32(len(text)))
		}
	}
	return string(b) + all.String()
}

// decodeFinding reads a finding. It is not ok if no writer could have written it.
func decodeFinding(b []byte) (f Finding, ok bool) {
	if len(b) < findingHead {
		return f, false
	}
	word := func(i int) int { return int(binary.LittleEndian.Uint32(b[4*i:])) }
	f.Line, f.Column = word(0), word(1)
	rest := b[findingHead:]
	texts := f.texts()
	for i, t := range texts {
		n := len(rest)
		if i < len(texts)-1 {
			n = word(2 + i)
		}
		if n > t.most || n > len(rest) {
			return Finding{}, false
		}
		*t.text, rest = string(rest[:n]), rest[n:]
	}
	return f, true
}
