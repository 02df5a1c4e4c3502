//go:build unix

package control

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/statesync/statesync/daemon/diff"
	"github.com/statesync/statesync/daemon/internal/httpd"
)

// The document has the routes of the sockets, and the fields of what they take and answer.
func TestOpenAPI(t *testing.T) {
	var document struct {
		Paths      map[string]map[string]any
		Components struct {
			Schemas map[string]struct {
				Properties map[string]map[string]any
			}
		}
	}
	if err := yaml.Unmarshal(openAPIText, &document); err != nil {
		t.Fatal(err)
	}
	s := &server{}
	for method, routes := range map[string][]string{"get": paths(s.looks()), "post": paths(s.commands())} {
		var documented []string
		for path, methods := range document.Paths {
			if methods[method] != nil {
				documented = append(documented, path)
			}
		}
		slices.Sort(documented)
		if !slices.Equal(documented, routes) {
			t.Errorf("%s: the document has %q, and the sockets %q", method, documented, routes)
		}
	}
	seen := map[string]bool{}
	var check func(name string, of reflect.Type)
	check = func(name string, of reflect.Type) {
		for of.Kind() == reflect.Pointer || of.Kind() == reflect.Slice {
			of = of.Elem()
		}
		if of.Kind() != reflect.Struct || of == reflect.TypeFor[time.Time]() || seen[name] {
			return
		}
		seen[name] = true
		var fields, documented []string
		for i := range of.NumField() {
			field, _, _ := strings.Cut(of.Field(i).Tag.Get("json"), ",")
			fields = append(fields, field)
			if of.Field(i).Type != reflect.TypeFor[json.RawMessage]() {
				check(schemaName(of.Field(i).Type), of.Field(i).Type)
			}
		}
		for field := range document.Components.Schemas[name].Properties {
			documented = append(documented, field)
		}
		slices.Sort(fields)
		slices.Sort(documented)
		if !slices.Equal(fields, documented) {
			t.Errorf("%s: the document has %q, and the type %q", name, documented, fields)
		}
	}
	for _, value := range []any{Status{}, Layer{}, Why{}, Record{}, Show{}, diff.Diff{}, Entry{}, Floor{}, Command{}, Reply{}} {
		check(schemaName(reflect.TypeOf(value)), reflect.TypeOf(value))
	}
	for name := range document.Components.Schemas {
		if !seen[name] {
			t.Errorf("no answer has %s", name)
		}
	}
	if !strings.Contains(string(openAPIText), "at most 1000 bytes") || maxWhy != 1000 || maxCommand != 2<<20 {
		t.Error("the document's limits are not those of the code")
	}
}

func paths(routes httpd.Routes) []string { return slices.Sorted(maps.Keys(routes)) }

// schemaName is what the document calls a type.
func schemaName(of reflect.Type) string {
	for of.Kind() == reflect.Pointer || of.Kind() == reflect.Slice {
		of = of.Elem()
	}
	if of.PkgPath() == reflect.TypeFor[diff.Diff]().PkgPath() && of.Name() != "Diff" {
		return of.Name() + "Diff"
	}
	return of.Name()
}
