package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/statesync/statesync/daemon/suggest"
	"github.com/statesync/statesync/shm"
	"github.com/statesync/statesync/shm/image"
)

func (a *app) getCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "get NAME [KEY]",
		Short: "Print a config, or one key of it",
		Long: `Print a config of the live generation, or the value of one of its keys.

As json, numbers and strings are just as programs read them; on a terminal the
text is indented, elsewhere it is on one line, in the canonical form. As yaml,
it could stand in the source. As raw, a string is printed without quotes, and
everything else is as in json.

An opaque config is printed as the bytes that it consists of, and has no keys.

With --generation it prints what an earlier generation had, from the daemon's
history; if the daemon does not run, from what the region still holds.`,
		Example: `  statesync get matchmaker
  statesync get matchmaker weights.elo
  statesync get team/limits -o yaml
  statesync get matchmaker --generation 41
  token_url=$(statesync get auth token.url -o raw)`,
		Args:              arguments(1, 2),
		ValidArgsFunction: a.complete,
	}
	format := output(cmd, "json", "yaml", "raw")
	generation := a.generationFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		config, err := a.configOf(cmd.Context(), *generation, args[0])
		if err != nil {
			return err
		}
		if config.Kind() == image.Opaque && cmd.Flags().Changed("output") && format.word != "raw" {
			return fmt.Errorf("config %s is opaque: only its reader knows whether it can be %s; get it with -o raw", args[0], format.word)
		}
		return a.printConfig(config, args[1:], format.word)
	}
	return cmd
}

// configOf is a config of the live generation, which is 0, or of an earlier one.
func (a *app) configOf(ctx context.Context, g uint64, name string) (*image.Section, error) {
	if g != 0 {
		return a.configAt(ctx, g, name)
	}
	region, err := a.open()
	if err != nil {
		return nil, err
	}
	return a.config(region, name)
}

// printConfig prints a config, or the value of the key that is given, in one of get's
// formats.
func (a *app) printConfig(config *image.Section, key []string, format string) (err error) {
	if config.Kind() == image.Opaque {
		if len(key) > 0 {
			return fmt.Errorf("config %s is opaque and has no keys; get it as a whole", config.Name())
		}
		return a.printBytes(config.Content())
	}
	value := image.Value{Type: image.Object, Text: config.Content()}
	if len(key) > 0 {
		if value, err = lookup(config, key[0]); err != nil {
			return err
		}
	}
	return a.printValue(value, format)
}

// config reads a config, or says which ones there are.
func (a *app) config(r *shm.Region, name string) (*image.Section, error) {
	var (
		config     *image.Section
		others     []string
		generation uint64
	)
	err := a.read(r, func(v *image.View) (err error) {
		others, generation = nil, v.Generation()
		config, err = find(v, name)
		if errors.Is(err, image.ErrNotFound) {
			others, err = names(v)
		}
		return err
	})
	switch {
	case err != nil:
		return nil, err
	case config == nil:
		return nil, fmt.Errorf("there is no config %q in generation %d%s; statesync ls lists the configs",
			name, generation, suggest.DidYouMean(name, others))
	}
	return config, nil
}

// lookup finds a key, or says which ones there are.
func lookup(config *image.Section, key string) (v image.Value, err error) {
	err = config.Lookup(&v, key)
	if errors.Is(err, image.ErrNotFound) {
		return v, fmt.Errorf("config %s has no key %q%s; statesync get %s shows all of it",
			config.Name(), key, suggest.DidYouMean(key, keys(config)), config.Name())
	}
	return v, err
}

// keys lists the dotted keys of a document in the order of its text.
func keys(config *image.Section) []string {
	var root any
	if json.Unmarshal(config.Content(), &root) != nil {
		return nil
	}
	var list []string
	var walk func(prefix string, v any)
	add := func(prefix, part string, v any) {
		key := strings.TrimPrefix(prefix+"."+part, ".")
		list = append(list, key)
		walk(key, v)
	}
	walk = func(prefix string, v any) {
		switch v := v.(type) {
		case map[string]any:
			for part, v := range v {
				add(prefix, part, v)
			}
		case []any:
			for i, v := range v[:min(len(v), image.MaxElements)] {
				add(prefix, fmt.Sprint(i), v)
			}
		}
	}
	walk("", root)
	slices.Sort(list)
	return list
}

// printValue prints a document's value in one of get's formats.
func (a *app) printValue(v image.Value, format string) error {
	text := v.Text
	if !json.Valid(text) { // its sum holds, so that its writer has put it there
		return fmt.Errorf("the value is not JSON: %w; restart statesyncd", shm.ErrCorrupt)
	}
	switch {
	case format == "raw" && v.Type == image.String:
		return a.printBytes(append([]byte(v.Str()), '\n'))
	case format == "yaml":
		text, err := toYAML(text)
		if err != nil {
			return err
		}
		_, err = a.stdout.Write(text)
		return err
	case isTerminal(a.stdout):
		var b bytes.Buffer
		if err := json.Indent(&b, text, "", "  "); err != nil {
			return err
		}
		text = escapeJSON(b.Bytes())
	}
	_, err := fmt.Fprintf(a.stdout, "%s\n", text)
	return err
}

// printBytes prints what only its reader understands. A terminal gets text
// alone.
func (a *app) printBytes(data []byte) error {
	harmful := func(r rune) bool { return !plain(r) && r != '\n' && r != '\t' }
	if isTerminal(a.stdout) && bytes.ContainsFunc(data, harmful) {
		return fmt.Errorf("the %d bytes are not just text, and could confuse the terminal; send them elsewhere, for example: | hexdump -C", len(data))
	}
	_, err := a.stdout.Write(data)
	return err
}
