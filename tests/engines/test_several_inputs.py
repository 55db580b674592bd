"""Models with several inputs on every engine, and accelerated."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

import reslab
from reslab.core.errors import UserError
from reslab.engines.runtimes import missing_packages
from tests.helpers.models import array
from tests.helpers.odd_nets import close
from tests.helpers.reference import randomise

ENGINES = "auto", "openvino", "onnxruntime", "backend"
RNG = np.random.default_rng(0)
BATCH = {
    "image": RNG.normal(size=(5, 12, 12, 3)).astype("float32"),
    "meta": RNG.normal(size=(5, 4)).astype("float32"),
    "age": RNG.normal(size=(5, 1)).astype("float32"),
}
LIST = list(BATCH.values())
EXPECTED = r"image \(n, 12, 12, 3\), meta \(n, 4\) and age \(n, 1\)"


def image_and_vectors(nested: str = "list") -> keras.Model:
    """An image whose maps are scaled by a vector; another number joins in the head."""
    image, meta, age = (keras.Input(x.shape[1:], name=name) for name, x in BATCH.items())
    x = layers.Conv2D(8, 3, padding="same", use_bias=False)(image)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    gate = layers.Reshape((1, 1, 8))(layers.Dense(8, activation="sigmoid")(meta))
    maps = layers.Multiply()([x, gate])
    z = layers.Concatenate()([layers.GlobalAveragePooling2D()(maps), meta, layers.Dense(2)(age)])
    inputs = {
        "list": [image, meta, age],
        "dict": {"meta": meta, "image": image, "age": age},
        "nested": [image, {"meta": meta, "age": age}],
    }[nested]
    model = keras.Model(inputs, {"logits": layers.Dense(5)(z), "maps": maps, "same": meta})
    randomise(model)
    return model


GIVEN: dict[str, Any] = {
    "list": LIST,
    "dict": BATCH,
    "nested": [BATCH["image"], {"meta": BATCH["meta"], "age": BATCH["age"]}],
}


def agree(outputs: Any, expected: Any) -> None:
    keras.tree.assert_same_structure(outputs, expected)
    for a, b in zip(keras.tree.flatten(outputs), keras.tree.flatten(expected), strict=True):
        assert a.shape == b.shape
        close(np.asarray(a), np.asarray(b))


def on_each_engine(model: keras.Model, given: Any, rows: int = 5) -> None:
    """Calls, and `predict` in batches that overlap, agree with Keras."""
    expected = model.predict_on_batch(given)
    for engine in ENGINES:
        if engine == "auto" or not missing_packages(engine):
            fast = reslab.inference(model, engine)
            agree(fast(given), expected)
            agree(fast.predict(given, rows - 1), expected)


@pytest.mark.core
@pytest.mark.parametrize("nested", GIVEN)
def test_an_image_and_two_vectors_on_each_engine(nested: str) -> None:
    model = image_and_vectors(nested)
    on_each_engine(model, GIVEN[nested])
    by_name = reslab.inference(model, "backend")(BATCH)  # whatever the structure
    agree(by_name, model.predict_on_batch(GIVEN[nested]))


def test_one_number_per_image_needs_no_second_axis() -> None:
    fast = reslab.inference(image_and_vectors(), "backend")
    agree(fast({**BATCH, "age": BATCH["age"][:, 0]}), fast(BATCH))


def siamese() -> keras.Model:
    """One network for two images, in a model inside; the order of the difference matters."""
    one = keras.Input((12, 12, 3), name="right")
    branch = keras.Sequential(
        [keras.Input((12, 12, 3)), layers.Conv2D(4, 3), layers.BatchNormalization()]
    )
    other = keras.Input((12, 12, 3), name="left")
    return keras.Model([one, other], layers.Subtract()([branch(one), branch(other)]))


def model_inside() -> keras.Model:
    """A model inside that takes a list, called with a dictionary in another order."""
    b, a = keras.Input((4,), name="b"), keras.Input((4,), name="a")
    inner = keras.Model([b, a], layers.Subtract()([layers.Dense(4)(b), a]))
    x, y = keras.Input((4,), name="images"), keras.Input((4,), name="other")
    z = layers.Dropout(0.5)(inputs=inner({"a": x, "b": y}))
    return keras.Model([x, y], [layers.Dense(3, name="images_call2")(z), z])


def unused_input() -> keras.Model:
    x, y = keras.Input((4,), name="x"), keras.Input((6, 6, 3), name="y")
    return keras.Model([x, y], layers.Dense(3)(x))


@pytest.mark.core
@pytest.mark.parametrize("make", [siamese, model_inside, unused_input])
def test_other_graphs_of_several_inputs(make: Callable[[], keras.Model]) -> None:
    model = make()
    randomise(model)
    on_each_engine(model, [RNG.normal(size=(4, *x.shape[1:])) for x in model.inputs], 4)


def test_a_layer_that_no_other_engine_knows_leaves_the_model_to_the_backend(
    caplog: pytest.LogCaptureFixture,
) -> None:
    tokens = keras.Input((3,), dtype="int32", name="tokens")
    image = keras.Input((6, 6, 2), name="image")
    words = layers.Flatten()(layers.Embedding(50, 4)(tokens))
    z = layers.Concatenate()([words, layers.Flatten()(layers.Conv2D(2, 3)(image))])
    model = keras.Model({"tokens": tokens, "image": image}, layers.Dense(2)(z))
    x = {"tokens": RNG.integers(0, 50, (4, 3)), "image": RNG.normal(size=(4, 6, 6, 2))}
    with caplog.at_level(logging.WARNING):
        fast = reslab.inference(model)
    assert "no other engine supports layer 'embedding" in caplog.text
    agree(fast(x), model.predict_on_batch(x))
    with pytest.raises(UserError, match="does not support layer 'embedding"):
        reslab.inference(model, "onnxruntime")
    with pytest.raises(UserError, match="tokens has whole numbers above 16,777,216, which float32"):
        fast({**x, "tokens": x["tokens"] + 2**25})


@pytest.mark.core
@pytest.mark.parametrize("nested", ["list", "dict"])
def test_a_model_with_its_own_call(nested: str) -> None:
    class Own(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.dense = layers.Dense(3)

        def call(self, inputs: Any) -> Any:
            a, b = inputs.values() if isinstance(inputs, dict) else inputs
            return self.dense(a) - 2 * self.dense(b)

    x: Any = [RNG.normal(size=(5, 4)).astype("float32") for _ in range(2)]
    x = x if nested == "list" else {"a": x[0], "b": x[1]}
    model = Own()
    expected = array(model(x))
    fast = reslab.inference(model, "backend")
    agree(fast(x), expected)
    agree(fast.predict(x, 2), expected)
    with pytest.raises(UserError, match="the model takes"):
        fast(np.zeros((5, 4)))


WRONG: dict[str, tuple[Any, str]] = {
    "one missing": ({"image": LIST[0], "age": LIST[2]}, f"takes {EXPECTED}; meta is missing"),
    "two missing": ({"image": LIST[0]}, f"takes {EXPECTED}; meta and age are missing"),
    "none": ({**BATCH, "age": None}, f"takes {EXPECTED}; age is missing"),
    "unknown": ({**BATCH, "sex": LIST[2]}, f"takes {EXPECTED}; it has no input 'sex'"),
    "too few": (LIST[:2], f"takes {EXPECTED}, a list of 3; 2 were given"),
    "too many": ([*LIST, LIST[0]], f"takes {EXPECTED}, a list of 3; 4 were given"),
    "array": (LIST[0], f"takes {EXPECTED}: a dictionary by name, or a list.*an array of"),
    "text": ("a.jpg", f"takes {EXPECTED}: a dictionary by name.*not a str"),
    "nothing": (None, f"takes {EXPECTED}: a dictionary by name.*not a NoneType"),
    "other names": ({"x": LIST[0]}, f"takes {EXPECTED}.*not a dictionary with x"),
    "shape": ({**BATCH, "meta": LIST[1][:, :3]}, rf"takes {EXPECTED}, not meta of \(5, 3\)"),
    "order": (LIST[::-1], rf"takes {EXPECTED}, not image of \(5, 1\)"),
    "batch sizes": (
        {**BATCH, "meta": LIST[1][:3]},
        f"takes {EXPECTED} with one n for all, not 5 for image, 3 for meta and 5 for age",
    ),
    "no rows": ([x[:0] for x in LIST], "no images were given"),
    "not finite": ([*LIST[:2], LIST[2] * np.inf], "age has values that are not finite"),
    "not numbers": ({**BATCH, "age": ["a"] * 5}, "age: a list is not an array of numbers"),
}


@pytest.mark.parametrize("engine", ["auto", "backend"])
@pytest.mark.parametrize("case", WRONG)
def test_wrong_inputs_end_in_one_line(case: str, engine: str) -> None:
    given, message = WRONG[case]
    fast = reslab.inference(image_and_vectors(), engine)
    for call in (fast, fast.predict):
        with pytest.raises(UserError, match=message) as error:
            call(given)
        assert "\n" not in str(error.value)


def test_a_list_for_named_inputs_is_refused() -> None:
    """Its order would be a guess: Keras sorts the names."""
    fast = reslab.inference(image_and_vectors("dict"), "backend")
    with pytest.raises(UserError, match="a dictionary by name, not a list"):
        fast(LIST)


@pytest.mark.core
@pytest.mark.parametrize("nested", GIVEN)
def test_accelerated_models_of_several_inputs(nested: str) -> None:
    """Outputs, and weights after a training, as in stock Keras."""

    def trained(undo: bool) -> tuple[Any, list[np.ndarray]]:
        model = reslab.accelerate(image_and_vectors(nested), undo=undo)
        outputs = keras.tree.map_structure(array, model(GIVEN[nested]))
        only = keras.Model(model.input, model.output["logits"])
        reslab.accelerate(only, undo=undo)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        only.compile(keras.optimizers.SGD(0.01, 0.9), loss)
        only.fit(GIVEN[nested], np.arange(5), batch_size=5, epochs=2, verbose=0)
        return outputs, only.get_weights()

    (outputs, weights), (expected, stock) = trained(False), trained(True)
    agree(outputs, expected)
    for a, b in zip(weights, stock, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
