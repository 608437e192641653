import Machine

/// Why a setting does not take a value, in words: for an option of a command, and for a line of a definition file.
enum SettingWords {
  static func inCommand(_ failure: SettingFailure, _ setting: Setting<VMDefinition>) -> ManagementError {
    switch failure {
    case .malformed(let words, let form):
      ManagementError(
        "\"\(words.joined(separator: " "))\" is not possible for --\(setting.name)", remedy: "give \(self.words(form))")
    case .outOfRange(let number, let form):
      ManagementError("--\(setting.name) \(number) is not possible", remedy: "give \(words(form))")
    case .form(let text, let expected):
      ManagementError(
        "\"\(text)\" is not possible for --\(setting.name)", remedy: "it has the form \(expected)")
    case .refused(let text, let reason):
      ManagementError("--\(setting.name) \(text) is not possible: \(reason)")
    case .absent(let device, let presence):
      ManagementError("there is no \(device)", remedy: "make it first with --\(presence)")
    }
  }

  static func inFile(_ failure: SettingFailure) -> String {
    switch failure {
    case .malformed(let words, let form): "\"\(words.joined(separator: " "))\" is not \(self.words(form))"
    case .outOfRange(let number, let form): "\(number) is not \(words(form))"
    case .form(let text, let expected): "\"\(text)\" is not of the form \(expected)"
    case .refused(let text, let reason): "\"\(text)\" is not possible: \(reason)"
    case .absent(let device, _): "there is no \(device)"
    }
  }

  /// What the form takes.
  static func words(_ form: SettingForm) -> String {
    switch form {
    case .text: "a text"
    case .choice(let values): "one of " + values.joined(separator: ", ")
    case .flag: "on or off"
    case .number(let range): "a number from \(range.lowerBound) to \(range.upperBound)"
    case .oneOf(let values): "one of " + values.map(String.init).joined(separator: ", ")
    case .file(let none): none.isEmpty ? "a file" : "a file, or \(none)"
    case .words(let form, let example): "\(form), as in \(example)"
    }
  }
}

extension Setting<VMDefinition> {
  /// What is to be given in place of a word of a command that is not of the setting's form at all, behind "the value is
  /// invalid"; ranges are checked when it is set.
  public func complaint(about word: String) -> String? {
    do throws(SettingFailure) {
      try form.check([word])
    } catch .malformed {
      return "give \(SettingWords.words(form))"
    } catch {}
    return nil
  }
}
