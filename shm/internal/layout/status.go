package layout

import (
	"encoding/binary"
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
	return bits
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
