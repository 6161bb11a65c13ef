package data

func answerModels() []model { return nil }
