"""The demo data set: multi-track songs that are composed and rendered here, from a seed and nothing else.

A song is planned (`plan`), written out for four players (`players`, `composer`), rendered to four stems (`drums`,
`bass`, `other`, `vocals`), mixed (`render`) and stored in the MUSDB18-HQ layout (`build`).
"""
