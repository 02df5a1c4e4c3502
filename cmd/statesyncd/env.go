//go:build unix

package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/statesync/statesync/daemon/suggest"
)

// envPrefix begins every variable of this project.
const envPrefix = "STATESYNC_"

// envName is the variable of a flag: STATESYNC_STATE_DIR for --state-dir.
func envName(flag string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// readersEnv are variables of the readers, which may well be set for a whole
// container. STATESYNC_REGION means the same here, and is a flag's.
var readersEnv = []string{envPrefix + "OWNER"}

// applyEnv sets the flags that the command line does not set from their
// variables, of which an empty one counts as not set. An unknown
// variable is an error: it is most likely misspelled, and ignoring it would be
// noticed late.
func applyEnv(flags *pflag.FlagSet, environ []string) error {
	known := map[string]*pflag.Flag{}
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Name != "help" && f.Name != "version" {
			known[envName(f.Name)] = f
		}
	})
	env := map[string]string{}
	for _, entry := range environ {
		if name, value, ok := strings.Cut(entry, "="); ok && strings.HasPrefix(name, envPrefix) {
			env[name] = value
		}
	}
	names := make([]string, 0, len(env))
	for name := range env {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		f, ok := known[name]
		switch {
		case !ok && !slices.Contains(readersEnv, name) && !isServiceEnv(name, env):
			return fmt.Errorf("the environment has %s, which is not known%s unset it otherwise", name, cmp.Or(suggest.DidYouMean(name, slices.Sorted(maps.Keys(known))), ";"))
		case !ok, f.Changed, env[name] == "":
			continue
		}
		values := []string{env[name]}
		if f.Value.Type() == "stringArray" { // one a line
			values = strings.FieldsFunc(env[name], func(r rune) bool { return r == '\n' || r == '\r' })
		}
		for _, value := range values {
			if value = strings.TrimSpace(value); value == "" && len(values) > 1 {
				continue
			}
			if err := flags.Set(f.Name, value); err != nil {
				return fmt.Errorf("the environment's %s: %w", name, err)
			}
		}
	}
	return nil
}

// isServiceEnv reports whether Kubernetes makes a variable for a Service that is
// named statesync or statesync-something: it does so in each container of the
// namespace. Those of a Service always come with its _SERVICE_HOST.
func isServiceEnv(name string, env map[string]string) bool {
	const host = "_SERVICE_HOST"
	services := []string{strings.TrimSuffix(envPrefix, "_")}
	for other := range env {
		if service, ok := strings.CutSuffix(other, host); ok {
			services = append(services, service)
		}
	}
	for _, service := range services {
		rest, ok := strings.CutPrefix(name, service)
		if !ok {
			continue
		}
		switch {
		case rest == host, rest == "_SERVICE_PORT", rest == "_PORT",
			strings.HasPrefix(rest, "_SERVICE_PORT_"), strings.HasPrefix(rest, "_PORT_"):
			return true
		}
	}
	return false
}
