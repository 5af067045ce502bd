"""From a track's seed to its whole score."""

from codec_ft.data.demo import players
from codec_ft.data.demo.plan import plan_song
from codec_ft.data.demo.score import Song, TrackSpec


def compose(spec: TrackSpec) -> Song:
    """Write the whole score of a track."""
    plan, name, mode = plan_song(spec)
    kit, hits = players.play_drums(spec.generator("drummer"), plan)
    singer, lead, harmony = players.sing(spec.generator("singer"), plan)
    return Song(
        spec=spec,
        style=name,
        key=plan.key,
        mode=mode,
        tempo=plan.clock.tempo,
        sections=plan.sections,
        kit=kit,
        drums=hits,
        bass=players.play_bass(spec.generator("bassist"), plan),
        other=players.play_other(spec.generator("band"), plan),
        singer=singer,
        vocals=lead,
        harmony=harmony,
    )
