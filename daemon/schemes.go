//go:build unix

package daemon

import (
	"fmt"

	"github.com/statesync/statesync/daemon/source"
	"github.com/statesync/statesync/daemon/source/dir"
)

// Schemes are the kinds of sources that the daemon knows.
var Schemes = source.Schemes{dir.Scheme}

// ParseSource reads what Options.Source may be.
func ParseSource(text string) (source.Spec, error) {
	specs, err := Schemes.Parse([]string{text})
	if err != nil {
		return source.Spec{}, err
	}
	spec := specs[0]
	if spec.Prefix != "" || spec.NoSchemas || spec.Interval != 0 {
		return spec, fmt.Errorf("source %q has one of the options prefix, schemas and interval, which this daemon does not support; leave it out", text)
	}
	return spec, nil
}

// openSource opens a source that is named as in Options.Source.
func openSource(text string, o source.Options) (source.Source, error) {
	spec, err := ParseSource(text)
	if err != nil {
		return nil, err
	}
	return Schemes.Open(spec, o)
}
