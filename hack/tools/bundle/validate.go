package main

import (
	"fmt"

	"github.com/operator-framework/api/pkg/manifests"
	"github.com/operator-framework/api/pkg/validation"
	interfaces "github.com/operator-framework/api/pkg/validation/interfaces"
)

// validators are those of `operator-sdk bundle validate` with every optional suite.
func validators() interfaces.Validators {
	return append(interfaces.Validators{
		validation.OperatorHubV2Validator,
		validation.StandardCapabilitiesValidator,
		validation.StandardCategoriesValidator,
		validation.GoodPracticesValidator,
		validation.ObjectValidator,
		validation.AlphaDeprecatedAPIsValidator,
		validation.CommunityOperatorValidator,
	}, validation.DefaultBundleValidators...)
}

// validate returns every error and warning that the validators have for a bundle.
func validate(dir string) ([]string, error) {
	bundle, err := manifests.GetBundleFromDir(dir)
	if err != nil {
		return nil, fmt.Errorf("read the bundle in %s: %w", dir, err)
	}
	objects := bundle.ObjectsToValidate()
	for _, object := range bundle.Objects {
		objects = append(objects, object)
	}
	var out []string
	for _, result := range validators().Validate(objects...) {
		for _, found := range result.Errors {
			out = append(out, found.Error())
		}
		for _, found := range result.Warnings {
			out = append(out, found.Error())
		}
	}
	return out, nil
}
