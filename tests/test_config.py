"""Configuration: what is accepted, what is refused and how, and the files that follow from the options."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
import yaml

from rsmvs.config import as_dict, build, config_from_dict, load_config, tiles, view_ids
from rsmvs.config_files import commented_yaml, default_yaml, json_schema, schema_text
from rsmvs.errors import ConfigError
from rsmvs.options import AreaOptions, Config, ImageOptions

ROOT = Path(__file__).resolve().parents[1]
BASE = {"images": [{"path": "a.tif"}, {"path": "b.tif"}], "area": {"crs": "EPSG:32637", "aoi": [0, 0, 1000, 1000]}}


def with_value(key: str, value: object) -> dict:
    """BASE with one dotted key set."""
    values = yaml.safe_load(yaml.safe_dump(BASE))
    *path, last = key.split(".")
    node = values
    for name in path:
        node = node.setdefault(name, {})
    node[last] = value
    return values


def test_files_of_the_project_follow_from_the_options():
    assert (ROOT / "config" / "config.yaml").read_text() == default_yaml(), "python -m rsmvs.config_files config"
    assert (ROOT / "config" / "schema.json").read_text() == schema_text(), "python -m rsmvs.config_files config"


def test_default_file_holds_the_defaults():
    given = config_from_dict(yaml.safe_load(default_yaml()), "/c.yaml")
    area = {"crs": given.area.crs, "aoi": list(given.area.aoi or ())}
    bare = config_from_dict({"images": as_dict(given)["images"], "area": area}, "/c.yaml")
    assert given == bare


def test_commented_yaml_of_a_partial_configuration_reads_back():
    values = with_value("filter.min_views", 2)
    text = commented_yaml(values, all_keys=False)
    assert yaml.safe_load(text) == {**values, "area": {**BASE["area"], "aoi": [0, 0, 1000, 1000]}}
    for section in ("heights:", "max_reprojection:", "tile_size:"):
        assert any(line.lstrip().startswith("#") and section in line for line in text.splitlines())


@pytest.mark.parametrize("path", sorted((ROOT / "config").glob("*.yaml")), ids=lambda p: p.stem)
def test_configurations_of_the_project_are_valid(path: Path):
    values = yaml.safe_load(path.read_text())
    jsonschema.validate(values, json_schema())
    assert tiles(config_from_dict(values, path))


REFUSED = [
    ("heights.modle", "sgm", "unknown key 'heights.modle'"),
    ("filter", 3, "filter"),
    ("filter.min_views", 1.5, "filter.min_views"),
    ("filter.min_views", True, "filter.min_views"),
    ("filter.min_views", -1, "0 to 31"),
    ("area.resolution", 0, "0.05 to 100"),
    ("area.aoi", "everywhere", "area.aoi"),
    ("heights.model", "magic", "choose from"),
    ("images", [{"id": "a"}], "images[0].path"),
]


@pytest.mark.parametrize(("key", "value", "named"), REFUSED, ids=[f"{k}={v}" for k, v, _ in REFUSED])
def test_wrong_values_are_refused_in_one_line_by_builder_and_schema(key: str, value: object, named: str):
    values = with_value(key, value)
    with pytest.raises(ConfigError) as refused:
        config_from_dict(values, "/somewhere/my.yaml")
    line = str(refused.value)
    assert "\n" not in line and "/somewhere/my.yaml" in line and named in line
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(values, json_schema())


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "images: [\n", "images: []\n"])
def test_a_file_that_is_no_configuration_is_refused_in_one_line(tmp_path: Path, text: str):
    path = tmp_path / "my.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"my\.yaml") as refused:
        load_config(path)
    assert "\n" not in str(refused.value)


def test_options_survive_the_way_through_json():
    config = config_from_dict(with_value("area.height_range", [10, 90]), "/c.yaml")
    assert build(Config, as_dict(config), "again") == config


def test_relative_paths_count_from_the_file_and_remote_ones_stay(tmp_path: Path):
    values = with_value("images", [{"path": "../x/a.tif"}, {"path": "/vsicurl/http://h/b.tif"}])
    config = config_from_dict(values, tmp_path / "sub" / "my.yaml")
    assert config.images[0].path == str(tmp_path.resolve() / "x" / "a.tif")
    assert config.images[1].path == "/vsicurl/http://h/b.tif"


def test_views_are_named_by_their_files_and_names_are_unique():
    config = config_from_dict(BASE, "/c.yaml")
    assert view_ids(config) == ["a", "b"]
    with pytest.raises(ConfigError, match="stands twice"):
        view_ids(replace(config, images=(ImageOptions(path="x/a.tif"), ImageOptions(path="y/a.tif"))))
    with pytest.raises(ConfigError, match="no file name"):
        view_ids(replace(config, images=(ImageOptions(path="a.tif", id="../a"),)))


def test_a_larger_area_keeps_its_tiles():
    config = config_from_dict(BASE, "/c.yaml")
    larger = replace(config, area=replace(config.area, aoi=(-700.0, 0.0, 1800.0, 1000.0)))
    assert set(tiles(config)) < set(tiles(larger))


@pytest.mark.parametrize("aoi", [(5.0, 0.0, 5.0, 9.0), (9.0, 0.0, 5.0, 9.0), (1.0, 2.0, 3.0)])
def test_an_empty_area_is_refused(aoi: tuple[float, ...]):
    config = config_from_dict(BASE, "/c.yaml")
    with pytest.raises(ConfigError, match=r"area\.aoi"):
        tiles(replace(config, area=AreaOptions(crs="EPSG:32637", aoi=aoi)))
