package report

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Names in the folder that a run writes to.
const (
	documentName = "RESULTS.md"
	rawName      = "results.json"
	chartsName   = "charts"
)

// Results are the raw results of sections, as they are kept in a file, by the sections'
// names. A section that has none may stand in the document all the same: results.json is
// not kept in Git, and the document is.
type Results struct {
	Sections map[string]*Measured `json:"sections"`

	parts map[string]part // of the document, by the sections' titles
}

// part is a section as it stands in the document.
type part struct{ body, loses string }

// Measured are the raw results of one section, and where they are from.
type Measured struct {
	When    time.Time       `json:"when"`
	Command string          `json:"command"`
	Machine Machine         `json:"machine"`
	Raw     json.RawMessage `json:"raw"`
}

// Load reads the raw results and the document in a folder; where there are none, it is
// empty.
func Load(dir string) (*Results, error) {
	r := &Results{Sections: map[string]*Measured{}}
	document, err := os.ReadFile(filepath.Join(dir, documentName))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	r.parts = partsOf(string(document))
	path := filepath.Join(dir, rawName)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err == nil {
		err = json.Unmarshal(text, r)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w; remove it to begin anew", path, err)
	}
	return r, nil
}

// partsOf takes a document apart.
func partsOf(document string) map[string]part {
	parts := map[string]part{}
	for _, block := range strings.Split(document, "\n## ")[1:] {
		title, body, _ := strings.Cut(block, "\n")
		if title != losesTitle {
			parts[title] = part{strings.TrimSpace(body), parts[title].loses}
			continue
		}
		for _, block := range strings.Split(body, "\n### ")[1:] {
			title, list, _ := strings.Cut(block, "\n")
			parts[title] = part{parts[title].body, strings.TrimSpace(list)}
		}
	}
	return parts
}

// Stands reports whether a section is in the document.
func (r *Results) Stands(s Section) bool { return r.parts[s.Title()].body != "" }

// Old are the raw results of a section, or nil.
func (r *Results) Old(section string) json.RawMessage {
	if m := r.Sections[section]; m != nil {
		return m.Raw
	}
	return nil
}

// Save writes the raw results, and the document and the charts that the sections word
// from them, into a folder. Sections without raw results stay in the document as they
// are.
func (r *Results) Save(dir string, sections []Section) error {
	charts := filepath.Join(dir, chartsName)
	if err := os.MkdirAll(charts, 0o755); err != nil {
		return err
	}
	raw, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	if err := replace(filepath.Join(dir, rawName), append(raw, '\n')); err != nil {
		return err
	}
	for _, s := range sections {
		m := r.Sections[s.Name()]
		if m == nil {
			continue
		}
		page, err := s.Render(m.Raw)
		if err != nil {
			return fmt.Errorf("section %s: %w", s.Name(), err)
		}
		for _, c := range page.Charts {
			if err := replace(filepath.Join(charts, c.Name+".svg"), c.SVG); err != nil {
				return err
			}
		}
		p := part{body: m.Origin() + "\n\n" + strings.TrimSpace(page.Markdown)}
		if len(page.Loses) > 0 {
			p.loses = "- " + strings.Join(page.Loses, "\n- ")
		}
		r.parts[s.Title()] = p
	}
	return replace(filepath.Join(dir, documentName), []byte(r.document(sections)))
}

// document puts the parts of sections together, as partsOf takes them apart.
func (r *Results) document(sections []Section) string {
	var bodies, losses strings.Builder
	for _, s := range sections {
		p := r.parts[s.Title()]
		if p.body != "" {
			fmt.Fprintf(&bodies, "\n## %s\n\n%s\n", s.Title(), p.body)
		}
		if p.loses != "" {
			fmt.Fprintf(&losses, "\n### %s\n\n%s\n", s.Title(), p.loses)
		}
	}
	if losses.Len() > 0 {
		return preamble + "\n## " + losesTitle + "\n\n" + judged + losses.String() + bodies.String()
	}
	return preamble + bodies.String()
}

// losesTitle heads what all sections say of where this project loses, by their titles.
const losesTitle = "Where this project loses"

const preamble = `# StateSync beside what else one would take

Written by ` + "`make bench-peers`" + `, which starts every server that it needs
and measures the contestants of a section in turn, round by round, so that a noisy
moment of the machine hits all of them. Sections are measured one after the other,
and each names its time and load: a section may be measured alone
(` + "`make bench-peers ONLY=visible`" + `). A run leaves every figure of every round in
` + "`results.json`" + ` beside this file, which is not kept in Git.
Trust the ratios: absolute times say more about the machine than about the code.

*The origin* is a published design, the one that this project began with: a sidecar
writes the version and the JSON to a temporary file and renames it, and each reader
maps that file, maps it anew every 5 s, and decodes the JSON in each request. It was
published with figures of its own, which stand in columns of their own.
`

const judged = `A peer is named where its median is less than ours by more than a tenth; a smaller
difference may be noise. Floors are not peers.
`

// Origin says where figures come from.
func (m *Measured) Origin() string {
	return fmt.Sprintf("Measured %s with `%s` on %s.", m.When.UTC().Format("2006-01-02 15:04 MST"), m.Command, m.Machine)
}

// replace writes a file as a whole.
func replace(path string, content []byte) error {
	temp := path + ".new"
	if err := os.WriteFile(temp, content, 0o644); err != nil {
		return err
	}
	return os.Rename(temp, path)
}
