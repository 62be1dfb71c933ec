"""Questions about a text: labels, levels, yes or no; how they are sent to each engine, and the columns of their answers."""

from llmframe._columns.questions.labels import read_labels
from llmframe._columns.questions.question_answers import (
    ChatQuestionAnswers,
    DecisionAnswers,
    Part,
    QuestionAnswers,
    Shown,
    judge_any,
)
from llmframe._columns.questions.questions import (
    MOST_QUESTIONS,
    Levels,
    Question,
    questions_as_json,
    questions_from_json,
    read_questions,
)
from llmframe._columns.questions.wire import MOST_CHOICES, decision_questions, question_record

__all__ = [
    "MOST_CHOICES",
    "MOST_QUESTIONS",
    "ChatQuestionAnswers",
    "DecisionAnswers",
    "Levels",
    "Part",
    "Question",
    "QuestionAnswers",
    "Shown",
    "decision_questions",
    "judge_any",
    "question_record",
    "questions_as_json",
    "questions_from_json",
    "read_labels",
    "read_questions",
]
