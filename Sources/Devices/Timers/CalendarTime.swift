/// A date and time of day as the real-time clock counts it: proleptic Gregorian, no leap seconds.
struct CalendarTime: Equatable {
  var year: Int
  var month: Int  // 1 to 12
  var day: Int  // 1 to 31
  /// 1 is Sunday.
  var weekday: Int
  var hour: Int
  var minute: Int
  var second: Int

  /// From seconds since 1970-01-01. Days are counted in eras of 400 years that begin on 1 March.
  init(epoch: Int64) {
    let days = Self.floorDivide(epoch, 86400)
    let rest = Int(epoch - days * 86400)
    hour = rest / 3600
    minute = rest / 60 % 60
    second = rest % 60
    weekday = Int((days % 7 + 11) % 7) + 1
    let shifted = days + 719_468
    let era = Self.floorDivide(shifted, 146_097)
    let dayOfEra = shifted - era * 146_097
    let leaps = dayOfEra / 1460 - dayOfEra / 36524 + dayOfEra / 146_096
    let yearOfEra = (dayOfEra - leaps) / 365
    let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
    let shiftedMonth = (5 * dayOfYear + 2) / 153
    day = Int(dayOfYear - (153 * shiftedMonth + 2) / 5) + 1
    month = Int(shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9)
    year = Int(yearOfEra + era * 400) + (month <= 2 ? 1 : 0)
  }

  init(year: Int, month: Int, day: Int, hour: Int, minute: Int, second: Int) {
    self.year = year
    self.month = month
    self.day = day
    self.hour = hour
    self.minute = minute
    self.second = second
    weekday = 1
  }

  /// Seconds since 1970-01-01. Fields out of range carry over.
  var epoch: Int64 {
    let shiftedYear = Int64(month <= 2 ? year - 1 : year)
    let era = Self.floorDivide(shiftedYear, 400)
    let yearOfEra = shiftedYear - era * 400
    let shiftedMonth = Int64(month > 2 ? month - 3 : month + 9)
    let dayOfYear = (153 * shiftedMonth + 2) / 5 + Int64(day) - 1
    let dayOfEra = yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear
    let days = era * 146_097 + dayOfEra - 719_468
    return days * 86400 + Int64(hour) * 3600 + Int64(minute) * 60 + Int64(second)
  }

  private static func floorDivide(_ value: Int64, _ by: Int64) -> Int64 {
    value >= 0 ? value / by : -((-value + by - 1) / by)
  }
}
