package contestant

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"sync/atomic"

	"github.com/fsnotify/fsnotify"
	kjson "github.com/knadh/koanf/parsers/json"
	"github.com/knadh/koanf/providers/file"
	"github.com/knadh/koanf/v2"
	"github.com/spf13/viper"
	"github.com/tailscale/setec/client/setec"
	"gocloud.dev/runtimevar"
	"gocloud.dev/runtimevar/filevar"

	"github.com/statesync/statesync/bench/peers/config"
	"github.com/statesync/statesync/bench/peers/server"
)

// libraries read a file in the process that uses it.
var libraries = []*Contestant{
	{
		Name: "viper", Title: "viper, `GetInt`", Module: "github.com/spf13/viper", Publish: publishJSON,
		Note: "WatchConfig; a reload is a data race with the requests",
		Open: openViper,
	},
	{
		Name: "koanf", Title: "koanf, `Int`", Module: "github.com/knadh/koanf/v2", Publish: publishJSON,
		Note: "a new instance for each change, behind an atomic pointer",
		Open: openKoanf,
	},
	{
		Name: "filevar", Title: "gocloud runtimevar/filevar, `Latest`", Module: "gocloud.dev", Publish: publishJSON,
		Note: "decoded once per change",
		Open: openFilevar,
	},
	{
		Name: "setec", Title: "setec `Store`, `Updater.Get`", Module: "github.com/tailscale/setec",
		Note: "for secrets; it polls its server, once an hour by default",
		Publish: func(_ context.Context, p *Place, _ *server.Fleet) (Source, error) {
			text, err := json.Marshal(map[string]any{config.Name: map[string]any{
				"secret": map[string]any{"TextValue": string(config.Document(p.Size, 1)), "Version": 1},
			}})
			if err == nil {
				err = os.WriteFile(filepath.Join(p.Dir, "secrets.json"), text, 0o644) // it is never changed
			}
			return Source{Close: nothing}, err
		},
		Open: openSetec,
	},
	{
		Name: "flagd", Title: "flagd in process, through OpenFeature", Module: "github.com/open-feature/flagd/core",
		Note: "its evaluator and its file source, as its in-process provider puts them together",
		Publish: func(ctx context.Context, p *Place, _ *server.Fleet) (Source, error) {
			file := &replacer{path: filepath.Join(p.Dir, "flags.json")}
			put := func(_ context.Context, version int) error {
				text, err := flags(p.Size, version)
				if err != nil {
					return err
				}
				return file.replace(text)
			}
			return file.source(put, nothing), put(ctx, 1)
		},
		Open: openFlagd,
	},
}

// publishJSON replaces the document's file by rename.
func publishJSON(ctx context.Context, p *Place, _ *server.Fleet) (Source, error) {
	file := &replacer{path: jsonPath(*p)}
	put := func(_ context.Context, version int) error { return file.replace(config.Document(p.Size, version)) }
	return file.source(put, nothing), put(ctx, 1)
}

func jsonPath(p Place) string { return filepath.Join(p.Dir, config.Name+".json") }

func openViper(_ context.Context, p Place) (*Reader, error) {
	v := viper.New()
	v.SetConfigFile(jsonPath(p))
	if err := v.ReadInConfig(); err != nil {
		return nil, err
	}
	return &Reader{
		Loop: each(func() (int, error) { return v.GetInt(config.Key), nil }),
		Watch: func(ctx context.Context, seen func(int)) error {
			v.OnConfigChange(func(fsnotify.Event) { seen(v.GetInt(config.Key)) })
			v.WatchConfig()
			seen(v.GetInt(config.Key))
			<-ctx.Done() // there is no way to stop it but the process's end
			return nil
		},
		Close: nothing,
	}, nil
}

func openKoanf(_ context.Context, p Place) (*Reader, error) {
	source := file.Provider(jsonPath(p))
	var current atomic.Pointer[koanf.Koanf]
	load := func() error {
		k := koanf.New(".")
		if err := k.Load(source, kjson.Parser()); err != nil {
			return err
		}
		current.Store(k)
		return nil
	}
	if err := load(); err != nil {
		return nil, err
	}
	return &Reader{
		Loop: each(func() (int, error) { return current.Load().Int(config.Key), nil }),
		Watch: func(ctx context.Context, seen func(int)) error {
			err := source.Watch(func(any, error) {
				if load() == nil {
					seen(current.Load().Int(config.Key))
				}
			})
			if err != nil {
				return err
			}
			seen(current.Load().Int(config.Key))
			<-ctx.Done()
			return source.Unwatch()
		},
		Close: nothing,
	}, nil
}

func openFilevar(ctx context.Context, p Place) (*Reader, error) {
	v, err := filevar.OpenVariable(jsonPath(p), runtimevar.NewDecoder(config.Settings{}, runtimevar.JSONDecode), nil)
	if err != nil {
		return nil, err
	}
	elo := func(s runtimevar.Snapshot) int { return s.Value.(config.Settings).Weights.Elo }
	if _, err := v.Latest(ctx); err != nil {
		return nil, err
	}
	return &Reader{
		Loop: func(n int) (sum int, err error) {
			ctx := context.Background()
			for range n {
				s, err := v.Latest(ctx)
				if err != nil {
					return 0, err
				}
				sum += elo(s)
			}
			return sum, nil
		},
		Watch: func(ctx context.Context, seen func(int)) error {
			for {
				s, err := v.Watch(ctx)
				if err != nil {
					return unlessEnded(ctx, err)
				}
				seen(elo(s))
			}
		},
		Close: v.Close,
	}, nil
}

func openSetec(ctx context.Context, p Place) (*Reader, error) {
	c, err := setec.NewFileClient(filepath.Join(p.Dir, "secrets.json"))
	if err != nil {
		return nil, err
	}
	store, err := setec.NewStore(ctx, setec.StoreConfig{Client: c, Secrets: []string{config.Name}, Logf: func(string, ...any) {}})
	if err != nil {
		return nil, err
	}
	u, err := setec.NewUpdater(ctx, store, config.Name, config.Decode)
	return &Reader{
		Loop: func(n int) (sum int, err error) {
			for range n {
				sum += u.Get().Weights.Elo
			}
			return sum, nil
		},
		Close: store.Close,
	}, err
}

// flags is the config as flagd has it: a flag for each setting.
func flags(size, version int) ([]byte, error) {
	all := map[string]any{}
	for _, f := range config.Fields(size, version) {
		var value any = f.Value
		if f.Changes {
			value = config.Elo(version)
		}
		all[f.Key] = map[string]any{
			"state": "ENABLED", "variants": map[string]any{"value": value}, "defaultVariant": "value",
		}
	}
	return json.Marshal(map[string]any{"flags": all})
}
