package history

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"
)

// hexDigest is a Digest that JSON has in hex.
type hexDigest Digest

func (d hexDigest) MarshalText() ([]byte, error) {
	return hex.AppendEncode(nil, d[:]), nil
}

func (d *hexDigest) UnmarshalText(text []byte) error {
	if len(text) != 2*len(d) {
		return fmt.Errorf("a digest has %d digits", len(text))
	}
	_, err := hex.Decode(d[:], text)
	return err
}

// storedRecord is a Record as JSON has it. The generation is the key.
type storedRecord struct {
	Time     time.Time `json:"time"`
	Content  hexDigest `json:"content"`
	Revision string    `json:"revision,omitempty"`
	Layers   []Layer   `json:"layers,omitempty"`
	Act      uint64    `json:"act,omitempty"`
	Command  string    `json:"command,omitempty"`
	Why      string    `json:"why,omitempty"`
	By       *By       `json:"by,omitempty"`
	Added    int       `json:"added,omitempty"`
	Changed  int       `json:"changed,omitempty"`
	Removed  int       `json:"removed,omitempty"`
	Region   string    `json:"region,omitempty"`
}

func (r *Record) encode() ([]byte, error) {
	return json.Marshal(storedRecord{
		Time: r.Time.UTC(), Content: hexDigest(r.Content), Revision: r.Revision, Layers: r.Layers,
		Act: r.Act, Command: r.Command, Why: r.Why, By: r.By,
		Added: r.Added, Changed: r.Changed, Removed: r.Removed, Region: r.Region,
	})
}

func decodeRecord(generation uint64, text []byte) (Record, error) {
	var s storedRecord
	if err := json.Unmarshal(text, &s); err != nil {
		return Record{}, fmt.Errorf("%w: record %d: %w", ErrDamaged, generation, err)
	}
	return Record{
		Generation: generation, Time: s.Time, Content: Digest(s.Content), Revision: s.Revision, Layers: s.Layers,
		Act: s.Act, Command: s.Command, Why: s.Why, By: s.By,
		Added: s.Added, Changed: s.Changed, Removed: s.Removed, Region: s.Region,
	}, nil
}

// storedPin is a Pin as JSON has it.
type storedPin struct {
	Act        uint64    `json:"act"`
	Generation uint64    `json:"generation"`
	Content    hexDigest `json:"content"`
	Revision   string    `json:"revision,omitempty"`
	Layers     []Layer   `json:"layers,omitempty"`
	Time       time.Time `json:"time"`
	By         By        `json:"by"`
	Why        string    `json:"why,omitempty"`
	Rollback   bool      `json:"rollback,omitempty"`
}

// MarshalJSON has the digest in hex.
func (p Pin) MarshalJSON() ([]byte, error) {
	return json.Marshal(storedPin{p.Act, p.Generation, hexDigest(p.Content), p.Revision, p.Layers, p.Time, p.By, p.Why, p.Rollback})
}

// UnmarshalJSON reads what MarshalJSON writes.
func (p *Pin) UnmarshalJSON(text []byte) error {
	var s storedPin
	if err := json.Unmarshal(text, &s); err != nil {
		return err
	}
	*p = Pin{s.Act, s.Generation, Digest(s.Content), s.Revision, s.Layers, s.Time, s.By, s.Why, s.Rollback}
	return nil
}
