package contestant

import (
	"context"
	"path/filepath"

	"github.com/open-feature/flagd/core/pkg/evaluator"
	"github.com/open-feature/flagd/core/pkg/logger"
	"github.com/open-feature/flagd/core/pkg/store"
	"github.com/open-feature/flagd/core/pkg/sync"
	"github.com/open-feature/flagd/core/pkg/sync/file"
	"github.com/open-feature/go-sdk/openfeature"

	"github.com/statesync/statesync/bench/peers/config"
)

// flagdProvider evaluates flags as flagd's in-process provider does. That
// module needs generated code from a registry of its own, which this one does
// without: the provider is a thin layer over flagd's core, and this is it.
type flagdProvider struct {
	openfeature.NoopProvider
	flags *evaluator.JSON
}

func (p flagdProvider) IntEvaluation(ctx context.Context, flag string, missing int64, in openfeature.FlattenedContext) openfeature.IntResolutionDetail {
	value, variant, reason, metadata, err := p.flags.ResolveIntValue(ctx, "", flag, in)
	detail := openfeature.ProviderResolutionDetail{Reason: openfeature.Reason(reason), Variant: variant, FlagMetadata: metadata}
	if err != nil {
		value, detail.ResolutionError = missing, openfeature.NewGeneralResolutionError(err.Error())
	}
	return openfeature.IntResolutionDetail{Value: value, ProviderResolutionDetail: detail}
}

func openFlagd(ctx context.Context, p Place) (*Reader, error) {
	log, path := logger.NewLogger(nil, false), filepath.Join(p.Dir, "flags.json")
	flags, err := store.NewStore(log, []string{path})
	if err != nil {
		return nil, err
	}
	provider := flagdProvider{flags: evaluator.NewJSON(log, flags)}

	source := file.NewFileSync(path, file.FSNOTIFY, log)
	if err := source.Init(ctx); err != nil {
		return nil, err
	}
	syncing, stop := context.WithCancel(context.Background())
	payloads, ended := make(chan sync.DataSync, 1), make(chan error, 1)
	go func() { ended <- source.Sync(syncing, payloads) }()
	next := func(ctx context.Context) error {
		select {
		case payload := <-payloads:
			return provider.flags.SetState(payload)
		case err := <-ended:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if err := next(ctx); err != nil {
		stop()
		return nil, err
	}
	if err := openfeature.SetNamedProviderAndWait(p.Dir, provider); err != nil {
		stop()
		return nil, err
	}
	c := openfeature.NewClient(p.Dir)
	get := func() (int, error) {
		v, err := c.IntValue(context.Background(), config.Key, 0, openfeature.EvaluationContext{})
		return int(v), err
	}
	return &Reader{
		Loop: each(get),
		Watch: func(ctx context.Context, seen func(int)) error {
			for {
				v, err := get()
				if err != nil {
					return err
				}
				seen(v)
				if err := next(ctx); err != nil {
					return unlessEnded(ctx, err)
				}
			}
		},
		Close: func() error {
			stop()
			return nil
		},
	}, nil
}
