import a_package_of_my_laptop as laptop


def predict(rows: list):
    return laptop.score(rows)
